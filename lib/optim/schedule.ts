// Learning-rate multipliers of latent diffusion as functions of the optimizer step, and LambdaLR to apply them.
// Class and option names follow the original configs, whose YAML files name them.
import { check } from '../errors.js';
import type { Optimizer } from './optimizer.js';

/** A multiplier of the base learning rate for each optimizer step, from 0. */
export interface Schedule {
  schedule(n: number): number;
}

/** Sets each group's `lr` to its initial value times a multiplier. Call `step()` after every optimizer step. */
export class LambdaLR {
  private readonly base: number[];
  private readonly multiplier: (n: number) => number;
  private n = 0;

  constructor(
    private readonly optimizer: Optimizer<{ lr: number }>,
    schedule: Schedule | ((n: number) => number),
  ) {
    this.base = optimizer.groups.map(({ lr }) => lr);
    this.multiplier = typeof schedule === 'function' ? schedule : (n) => schedule.schedule(n);
    this.apply();
  }

  step(): void {
    ++this.n;
    this.apply();
  }

  /** Learning rates in use, one for each group. */
  get lastLr(): number[] {
    return this.optimizer.groups.map(({ lr }) => lr);
  }

  stateDict(): { step: number; base: number[] } {
    return { step: this.n, base: [...this.base] };
  }

  loadStateDict(state: { step: number; base: readonly number[] }): void {
    check(
      state.base.length === this.base.length,
      () =>
        `LambdaLR.loadStateDict: the state has ${state.base.length} groups, the optimizer ${this.base.length}`,
    );
    this.n = state.step;
    this.base.splice(0, this.base.length, ...state.base);
    this.apply();
  }

  private apply(): void {
    const factor = this.multiplier(this.n);
    this.optimizer.groups.forEach((group, i) => (group.lr = this.base[i] * factor));
  }
}

export interface WarmUpCosineOptions {
  warm_up_steps: number;
  lr_min: number;
  lr_max: number;
  lr_start: number;
  max_decay_steps: number;
}

const line = (from: number, to: number, share: number): number => from + (to - from) * share;

// From `high` at 0 to `low` at 1 and beyond.
const cosine = (low: number, high: number, share: number): number =>
  low + 0.5 * (high - low) * (1 + Math.cos(Math.min(share, 1) * Math.PI));

/** A linear warm-up, then half a cosine down to lr_min. */
export class LambdaWarmUpCosineScheduler implements Schedule {
  constructor(private readonly options: WarmUpCosineOptions) {}

  schedule(n: number): number {
    const { warm_up_steps, lr_min, lr_max, lr_start, max_decay_steps } = this.options;
    if (n < warm_up_steps) return line(lr_start, lr_max, n / warm_up_steps);
    return cosine(lr_min, lr_max, (n - warm_up_steps) / (max_decay_steps - warm_up_steps));
  }
}

/** One entry for each cycle. */
export interface CycleOptions {
  warm_up_steps: readonly number[];
  f_min: readonly number[];
  f_max: readonly number[];
  f_start: readonly number[];
  cycle_lengths: readonly number[];
}

abstract class Cycles implements Schedule {
  constructor(protected readonly options: CycleOptions) {
    const { length } = options.cycle_lengths;
    check(
      length > 0 &&
        Object.values(options).every((list: readonly number[]) => list.length === length),
      () => `${new.target.name}: all lists must have one entry for each of the ${length} cycles`,
    );
  }

  // A boundary belongs to the cycle that ends there; past the last cycle its end value holds.
  schedule(n: number): number {
    const { cycle_lengths, warm_up_steps, f_start, f_max } = this.options;
    let cycle = 0;
    while (cycle < cycle_lengths.length - 1 && n > cycle_lengths[cycle])
      n -= cycle_lengths[cycle++];
    const at = Math.min(n, cycle_lengths[cycle]);
    if (at < warm_up_steps[cycle])
      return line(f_start[cycle], f_max[cycle], at / warm_up_steps[cycle]);
    return this.decay(cycle, at);
  }

  protected abstract decay(cycle: number, n: number): number;
}

/** Cycles of a linear warm-up and half a cosine, each with its own lengths and levels. */
export class LambdaWarmUpCosineScheduler2 extends Cycles {
  protected override decay(cycle: number, n: number): number {
    const { f_min, f_max, warm_up_steps, cycle_lengths } = this.options;
    const warm = warm_up_steps[cycle];
    return cosine(f_min[cycle], f_max[cycle], (n - warm) / (cycle_lengths[cycle] - warm));
  }
}

/**
 * Cycles of a linear warm-up and a line down to f_min. As in the original the line is measured from the start of
 * the cycle, so that it does not set out from f_max.
 */
export class LambdaLinearScheduler extends Cycles {
  protected override decay(cycle: number, n: number): number {
    const { f_min, f_max, cycle_lengths } = this.options;
    return line(f_min[cycle], f_max[cycle], (cycle_lengths[cycle] - n) / cycle_lengths[cycle]);
  }
}
