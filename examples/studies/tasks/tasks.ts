// The tasks of the paper, in its order.
import { inpaint } from './inpaint.js';
import type { TaskStudy } from './study.js';
import { unconditional } from './unconditional.js';

export const tasks: readonly TaskStudy[] = [unconditional, inpaint];
