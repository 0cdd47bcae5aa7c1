// Every kind of case that the runner knows.
import type { Adapter } from '../runner.js';
import { blocks } from './blocks.js';
import { diffusion } from './diffusion.js';
import { fullSize } from './full.js';
import { losses } from './losses.js';
import { metrics } from './metrics.js';
import { networks } from './networks.js';
import { ops } from './ops.js';
import { torchRandom } from './random.js';
import { trainings } from './training.js';

export const adapters: readonly Adapter[] = [
  ...ops,
  ...blocks,
  ...networks,
  ...losses,
  ...diffusion,
  ...metrics,
  torchRandom,
  ...trainings,
  fullSize,
];
