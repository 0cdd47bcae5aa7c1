// The original's learning-rate schedules as targets.
import {
  LambdaLinearScheduler,
  LambdaWarmUpCosineScheduler,
  LambdaWarmUpCosineScheduler2,
  type CycleOptions,
  type Schedule,
  type WarmUpCosineOptions,
} from '../optim/index.js';
import { snakeCase } from '../ldm/config.js';
import { convert, integer, list, mapping, number, type Field, type FieldsOf } from './fields.js';
import { Targets, type Instance } from './targets.js';

/** What may stand as `scheduler_config`. */
export const schedules = new Targets<WarmUpCosineOptions | CycleOptions, Schedule>(
  'a learning-rate schedule',
);

export type ScheduleInstance = Instance<WarmUpCosineOptions | CycleOptions, Schedule, []>;

const count = integer({ min: 0 });
// How often the original prints the multiplier; progress is shown elsewhere here.
const verbosity = ['verbosity_interval'];

// The options of schedules keep the original's names.
const options = <T extends object>(fields: FieldsOf<T>): Field<T> =>
  convert(mapping<T>(fields, verbosity), (read) => {
    const entries = Object.entries(read).map(([name, value]) => [snakeCase(name), value as unknown]);
    return Object.fromEntries(entries) as T;
  });

schedules.register(['ldm.lr_scheduler.LambdaWarmUpCosineScheduler'], {
  params: options<WarmUpCosineOptions>({
    warm_up_steps: count,
    lr_min: number(),
    lr_max: number(),
    lr_start: number(),
    max_decay_steps: count,
  }),
  build: (options) => new LambdaWarmUpCosineScheduler(options),
});

const cycles = options<CycleOptions>({
  warm_up_steps: list(count),
  f_min: list(number()),
  f_max: list(number()),
  f_start: list(number()),
  cycle_lengths: list(integer({ min: 1 })),
});

schedules.register(['ldm.lr_scheduler.LambdaWarmUpCosineScheduler2'], {
  params: cycles,
  build: (options) => new LambdaWarmUpCosineScheduler2(options),
});
schedules.register(['ldm.lr_scheduler.LambdaLinearScheduler'], {
  params: cycles,
  build: (options) => new LambdaLinearScheduler(options),
});
