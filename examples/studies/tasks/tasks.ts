// The tasks of the paper, in its order.
import type { TaskStudy } from './study.js';

export const tasks: readonly TaskStudy[] = [];
