// The tasks of the paper, in its order.
import { semantic } from './semantic.js';
import type { TaskStudy } from './study.js';

export const tasks: readonly TaskStudy[] = [semantic];
