// The original's learning-rate schedules as targets.
import {
  LambdaLinearScheduler,
  LambdaWarmUpCosineScheduler,
  LambdaWarmUpCosineScheduler2,
  type CycleOptions,
  type Schedule,
  type WarmUpCosineOptions,
} from '../optim/index.js';
import { integer, list, mapping, number } from './fields.js';
import { Targets, type Instance } from './targets.js';

/** What may stand as `scheduler_config`. */
export const scheduleTargets = new Targets<WarmUpCosineOptions | CycleOptions, Schedule>(
  'a learning-rate schedule',
);

export type ScheduleInstance = Instance<WarmUpCosineOptions | CycleOptions, Schedule, []>;

const count = integer({ min: 0 });
// How often the original prints the multiplier; progress is shown elsewhere here.
const verbosity = ['verbosity_interval'];
// Schedules keep the original's names for their options.
const asTheyAre = (name: string): string => name;

scheduleTargets.register(['ldm.lr_scheduler.LambdaWarmUpCosineScheduler'], {
  params: mapping<WarmUpCosineOptions>(
    {
      warm_up_steps: count,
      lr_min: number(),
      lr_max: number(),
      lr_start: number(),
      max_decay_steps: count,
    },
    verbosity,
    asTheyAre,
  ),
  build: (options) => new LambdaWarmUpCosineScheduler(options),
});

const cycles = mapping<CycleOptions>(
  {
    warm_up_steps: list(count),
    f_min: list(number()),
    f_max: list(number()),
    f_start: list(number()),
    cycle_lengths: list(integer({ min: 1 })),
  },
  verbosity,
  asTheyAre,
);

scheduleTargets.register(['ldm.lr_scheduler.LambdaWarmUpCosineScheduler2'], {
  params: cycles,
  build: (options) => new LambdaWarmUpCosineScheduler2(options),
});
scheduleTargets.register(['ldm.lr_scheduler.LambdaLinearScheduler'], {
  params: cycles,
  build: (options) => new LambdaLinearScheduler(options),
});
