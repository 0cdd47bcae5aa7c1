export { reshape, detach } from './view.js';
