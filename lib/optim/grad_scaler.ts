import { noGrad } from '../autograd/index.js';
import { full } from '../creation.js';
import type { Device } from '../device.js';
import { check, EmulsionError } from '../errors.js';
import { native, type Id } from '../native.js';
import { cast, mul } from '../ops/index.js';
import { keep, tidy } from '../scope.js';
import { noteWritten, type Tensor } from '../tensor.js';
import { gradNorm, scaleGradients } from './gradients.js';
import type { Optimizer, StepOptions } from './optimizer.js';

const kernels = native<{ fill(value: number, y: Id): void }>('fill');

export interface GradScalerOptions {
  /** Default 65536. */
  initScale?: number;
  /** What the scale is multiplied with after `growthInterval` finite updates. Default 2. */
  growthFactor?: number;
  /** What the scale is multiplied with after a gradient that is not finite. Default 0.5. */
  backoffFactor?: number;
  /** Default 2000. */
  growthInterval?: number;
  /** false: every method passes through, as a bfloat16 run of the same loop wants it. Default true. */
  enabled?: boolean;
}

/** A scaler's memory, for a checkpoint: plain numbers. */
export interface GradScalerState {
  scale: number;
  growthFactor: number;
  backoffFactor: number;
  growthInterval: number;
  /** Finite updates since the scale last changed. */
  growthTracker: number;
  /** Steps left out because a gradient was not finite. */
  skipped: number;
}

// The smallest scale whose inverse is finite in float32.
const smallestScale = 2 ** -126;

/** What happened to an optimizer's gradients since the last update(). */
interface Progress {
  /** Of the gradients as backward left them; read by step(). */
  norm: Tensor | null;
  unscaled: boolean;
  step: 'not yet' | 'under way' | 'done';
}

/** The scale in a device's memory. */
interface Factors {
  value: number;
  readonly scale: Tensor;
  readonly inverse: Tensor;
}

type AnyOptimizer = Optimizer<{ lr: number }>;

/**
 * Loss scaling for float16 (Micikevicius et al., "Mixed precision training", 2018), as PyTorch's
 * `torch.amp.GradScaler`: gradients that float16 would round to zero are computed times a large number,
 * which is taken out again before they are used. The number grows while gradients are finite; one that is
 * not skips the step and shrinks it.
 *
 * ```ts
 * optimizer.zeroGrad();
 * scaler.scale(autocast('float16', () => mseLoss(model.forward(x), y))).backward();
 * const norm = scaler.gradNorm(optimizer);
 * await scaler.step(optimizer, { gradScale: clipScale(norm, 1) });
 * scaler.update();
 * ```
 *
 * Scaling, unscaling and the search for non-finite gradients stay on the device (that search is the
 * gradients' norm: one pass). Whether to step is decided here, so `step` reads that one number: the event
 * loop stays free, but the device has no work queued beyond it.
 */
export class GradScaler {
  private readonly enabled: boolean;
  private state: GradScalerState;
  private readonly onDevice = new Map<Device, Factors>();
  private readonly progress = new Map<AnyOptimizer, Progress>();
  private overflowed = false;

  constructor(options: GradScalerOptions = {}) {
    const { initScale = 65536, growthFactor = 2, backoffFactor = 0.5 } = options;
    const { growthInterval = 2000, enabled = true } = options;
    this.enabled = enabled;
    this.state = checkState('GradScaler', {
      scale: initScale,
      growthFactor,
      backoffFactor,
      growthInterval,
      growthTracker: 0,
      skipped: 0,
    });
  }

  /** What losses are multiplied with now. */
  get currentScale(): number {
    return this.enabled ? this.state.scale : 1;
  }

  /** Steps left out so far because a gradient was not finite. */
  get skipped(): number {
    return this.state.skipped;
  }

  /** The loss times the scale, in float32 or wider. */
  scale(loss: Tensor): Tensor {
    if (!this.enabled) return loss;
    const dtype = loss.dtype === 'float64' ? 'float64' : 'float32';
    return mul(cast(loss, dtype), cast(this.factors(loss.device).scale, dtype));
  }

  /**
   * The norm of an optimizer's gradients as they are without the scale, for `clipScale`. It leaves the gradients
   * alone, and `step` does not measure them again.
   * @returns one float32 number, still on the device
   */
  gradNorm(optimizer: AnyOptimizer): Tensor {
    const params = parametersOf(optimizer);
    if (!this.enabled) return gradNorm(params);
    const progress = this.progressOf(optimizer);
    checkOrder(
      progress.step === 'not yet',
      'gradNorm: step() was already called for this optimizer since the last update()',
    );
    // They may have been clipped since.
    if (progress.unscaled) return gradNorm(params);
    const norm = measure(progress, params);
    return noGrad(() => mul(norm, this.factors(params[0].device).inverse));
  }

  /**
   * Takes the scale out of an optimizer's gradients, in place, for what reads them before the step.
   * Without this call `step` does it inside the optimizer's kernel, at no cost.
   * @throws ArgumentError for float16 gradients, whose small values would be lost again.
   */
  unscale(optimizer: AnyOptimizer): void {
    if (!this.enabled) return;
    const progress = this.progressOf(optimizer);
    checkOrder(
      !progress.unscaled && progress.step === 'not yet',
      'unscale: already called for this optimizer since the last update()',
    );
    const params = parametersOf(optimizer);
    check(
      params.every(({ grad }) => grad?.dtype !== 'float16'),
      () =>
        'GradScaler.unscale: float16 gradients cannot hold what scaling saved. Leave unscaling to step() ' +
        '(clip by its gradScale and gradNorm(optimizer)), or keep float32 weights and use autocast()',
    );
    measure(progress, params);
    progress.unscaled = true;
    scaleGradients(params, this.factors(params[0].device).inverse);
  }

  /**
   * `optimizer.step(options)` with the scale taken out, unless a gradient is not finite.
   * @returns whether the step was made, when the device has got there.
   */
  async step(optimizer: AnyOptimizer, options: StepOptions = {}): Promise<boolean> {
    if (!this.enabled) {
      optimizer.step(options);
      return true;
    }
    const progress = this.progressOf(optimizer);
    checkOrder(
      progress.step === 'not yet',
      'step: already called for this optimizer since the last update()',
    );
    const params = parametersOf(optimizer);
    const norm = progress.norm ?? gradNorm(params);
    progress.step = 'under way';
    const finite = Number.isFinite(await norm.item());
    norm.dispose();
    progress.step = 'done';
    if (!finite) {
      this.overflowed = true;
      ++this.state.skipped;
      return false;
    }
    if (progress.unscaled) optimizer.step(options);
    else tidy(() => optimizer.step({ gradScale: this.unscaling(params[0].device, options) }));
    return true;
  }

  /** Adapts the scale: once after the steps of all optimizers. */
  update(): void {
    if (!this.enabled) return;
    const all = [...this.progress.values()];
    checkOrder(
      all.length > 0 && all.every(({ step }) => step === 'done'),
      'update: await step() of every optimizer first',
    );
    const state = this.state;
    if (this.overflowed) {
      state.scale = Math.max(state.scale * state.backoffFactor, smallestScale);
      state.growthTracker = 0;
    } else if (++state.growthTracker >= state.growthInterval) {
      const grown = state.scale * state.growthFactor;
      if (Number.isFinite(Math.fround(grown))) state.scale = grown;
      state.growthTracker = 0;
    }
    this.restart();
  }

  /** The memory to save. */
  stateDict(): GradScalerState {
    return { ...this.state };
  }

  /** Goes on from a saved state. */
  loadStateDict(state: GradScalerState): void {
    const { scale, growthFactor, backoffFactor, growthInterval, growthTracker, skipped } = state;
    const given = { scale, growthFactor, backoffFactor, growthInterval, growthTracker, skipped };
    this.state = checkState('GradScaler.loadStateDict', given);
    this.restart();
  }

  /** Frees the scale's tensors. They are made again when the scaler is used again. */
  dispose(): void {
    this.restart();
    for (const { scale, inverse } of this.onDevice.values()) {
      scale.dispose();
      inverse.dispose();
    }
    this.onDevice.clear();
  }

  // The scale lies in device memory, so that a captured step sees it change.
  private factors(device: Device): Factors {
    let factors = this.onDevice.get(device);
    if (!factors) {
      const number = (value: number): Tensor => keep(full([], value, { device }));
      const value = this.state.scale;
      factors = { value, scale: number(value), inverse: number(1 / value) };
      this.onDevice.set(device, factors);
    }
    return factors;
  }

  // What takes the scale out and does what the options ask for.
  private unscaling(device: Device, { gradScale }: StepOptions): Tensor {
    const { inverse } = this.factors(device);
    return gradScale ? mul(inverse, gradScale) : inverse;
  }

  private progressOf(optimizer: AnyOptimizer): Progress {
    let progress = this.progress.get(optimizer);
    if (!progress)
      this.progress.set(optimizer, (progress = { norm: null, unscaled: false, step: 'not yet' }));
    return progress;
  }

  private restart(): void {
    for (const { norm } of this.progress.values()) norm?.dispose();
    this.progress.clear();
    this.overflowed = false;
    for (const factors of this.onDevice.values()) {
      if (factors.value === this.state.scale) continue;
      factors.value = this.state.scale;
      kernels.fill(factors.value, factors.scale.id);
      kernels.fill(1 / factors.value, factors.inverse.id);
      noteWritten([factors.scale, factors.inverse]);
    }
  }
}

const parametersOf = (optimizer: AnyOptimizer): Tensor[] =>
  optimizer.groups.flatMap(({ params }) => params);

function measure(progress: Progress, params: readonly Tensor[]): Tensor {
  progress.norm?.dispose();
  return (progress.norm = keep(gradNorm(params)));
}

function checkOrder(condition: boolean, message: string): void {
  if (!condition) throw new EmulsionError(`GradScaler.${message}`, 'ERR_ORDER');
}

function checkState(name: string, state: GradScalerState): GradScalerState {
  const { scale, growthFactor, backoffFactor, growthInterval, growthTracker, skipped } = state;
  const count = (value: number) => Number.isInteger(value) && value >= 0;
  check(
    scale >= smallestScale &&
      Number.isFinite(Math.fround(scale)) &&
      growthFactor > 1 &&
      backoffFactor > 0 &&
      backoffFactor < 1 &&
      count(growthInterval) &&
      growthInterval > 0 &&
      count(growthTracker) &&
      count(skipped),
    () =>
      `${name}: the scale must be a positive float32, growthFactor above 1, backoffFactor in (0, 1), ` +
      `growthInterval, growthTracker and skipped counts; got ${JSON.stringify(state)}`,
  );
  return state;
}
