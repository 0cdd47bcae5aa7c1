// The tasks of the paper, in its order.
import { inpaint } from './inpaint.js';
import { layout } from './layout.js';
import { semantic } from './semantic.js';
import type { TaskStudy } from './study.js';
import { unconditional } from './unconditional.js';
import { upscaleStudy } from './upscale.js';

export const tasks: readonly TaskStudy[] = [unconditional, layout, semantic, upscaleStudy, inpaint];
