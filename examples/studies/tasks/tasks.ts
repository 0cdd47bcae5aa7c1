// The tasks of the paper, in its order.
import { admStudy, classStudy } from './class.js';
import { inpaint } from './inpaint.js';
import { layout } from './layout.js';
import { semantic } from './semantic.js';
import { several } from './several.js';
import type { TaskStudy } from './study.js';
import { textStudy } from './text.js';
import { unconditional } from './unconditional.js';
import { upscaleStudy } from './upscale.js';

export const tasks: readonly TaskStudy[] = [
  unconditional,
  classStudy,
  textStudy,
  layout,
  semantic,
  upscaleStudy,
  inpaint,
  several,
  admStudy,
];
