// The tasks of the paper, in its order.
import { classStudy } from './class.js';
import type { TaskStudy } from './study.js';
import { textStudy } from './text.js';

export const tasks: readonly TaskStudy[] = [classStudy, textStudy];
