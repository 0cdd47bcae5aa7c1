export { op, noGrad, enableGrad, isGradEnabled, type Recording } from './record.js';
export {
  backward,
  grad,
  registerHook,
  type BackwardOptions,
  type GradOptions,
} from './backward.js';
export { checkpoint } from './checkpoint.js';
export type { Hook, Rule } from './node.js';
