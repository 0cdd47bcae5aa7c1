import { tensor } from '../creation.js';
import { ArgumentError, check, checkShape, EmulsionError } from '../errors.js';
import { native, type Id } from '../native.js';
import { refuseInRecording } from '../recording.js';
import { keep } from '../scope.js';
import { empty, noteWritten, type Tensor } from '../tensor.js';
import { copyInto, ids } from './copy.js';

const kernels = native<{ ema_update(shadows: Id[], params: Id[], decay: number): void }>(
  'ema_update',
);

export interface EmaOptions {
  /** Default 0.9999. */
  decay?: number;
  /** Starts with a lower decay, min(decay, (1 + n) / (10 + n)) at update n. Default true. */
  useNumUpdates?: boolean;
  /** An average to go on from, which is copied. Default: the parameters as they are, after no updates. */
  from?: AverageStart;
}

/** A moving average that was made before. */
export interface AverageStart {
  /** by the parameters' names; one that is missing begins with the parameter */
  readonly averages: ReadonlyMap<string, Tensor>;
  /** how many updates it has seen; -1 for enough of them, after which the decay is no lower */
  readonly numUpdates: number;
}

/**
 * Exponential moving average of a model's parameters (the original's LitEma). Sampling with the average gives
 * better pictures than with the last weights: run it inside {@link Ema.scope}.
 */
export class Ema {
  private readonly params: Tensor[];
  private readonly keys: string[];
  private readonly shadows: Tensor[];
  private stored: Tensor[] | null = null;
  private decay: number;
  /** Updates so far; -1 without the warm-up of the decay. */
  numUpdates: number;

  /** @param parameters names and trainable parameters, in the model's order. */
  constructor(parameters: Iterable<readonly [string, Tensor]>, options: EmaOptions = {}) {
    const { decay = 0.9999, useNumUpdates = true, from } = options;
    check(decay >= 0 && decay <= 1, () => `Ema: decay must lie in [0, 1], got ${decay}`);
    const entries = [...parameters];
    this.params = entries.map(([, param]) => param);
    // Dots are dropped, as the original must: its buffers may not contain them.
    this.keys = entries.map(([name]) => name.replaceAll('.', ''));
    check(
      new Set(this.keys).size === this.keys.length,
      () => 'Ema: two parameter names are equal without their dots',
    );
    this.shadows = entries.map(([name, param]) =>
      copyOf(
        from?.averages.get(name) ?? param,
        param.dtype === 'float64' ? 'float64' : 'float32',
        param.device,
      ),
    );
    // As precise as it is saved, so that an average goes on from a file as if it had never stopped.
    this.decay = Math.fround(decay);
    this.numUpdates = useNumUpdates ? (from?.numUpdates ?? 0) : -1;
  }

  /** The decay of the next update. */
  get nextDecay(): number {
    if (this.numUpdates < 0) return this.decay;
    const n = this.numUpdates + 1;
    return Math.min(this.decay, (1 + n) / (10 + n));
  }

  /** Moves the average towards the parameters. Once after every training batch. */
  update(): void {
    refuseInRecording(
      'an average moves while work is recorded, and its decay would stand still',
      'Update it after the captured step',
    );
    const decay = this.nextDecay;
    if (this.numUpdates >= 0) ++this.numUpdates;
    if (this.params.length > 0) kernels.ema_update(ids(this.shadows), ids(this.params), decay);
    noteWritten(this.shadows);
  }

  /** The average of a parameter, or undefined if it has none. It stays the average's own. */
  averageOf(parameter: Tensor): Tensor | undefined {
    return this.shadows[this.params.indexOf(parameter)];
  }

  /** Overwrites the parameters with the average. */
  copyTo(): void {
    this.params.forEach((param, i) => copyInto(this.shadows[i], param));
  }

  /** Sets the current parameters aside for {@link restore}. */
  store(): void {
    if (this.stored)
      throw new EmulsionError('Ema: parameters are already stored; restore() them first');
    this.stored = this.params.map((param) => copyOf(param, param.dtype));
  }

  /** Brings back the parameters of the last {@link store}. */
  restore(): void {
    if (!this.stored)
      throw new EmulsionError('Ema: nothing is stored; call store() before restore()');
    this.stored.forEach((from, i) => {
      copyInto(from, this.params[i]);
      from.dispose();
    });
    this.stored = null;
  }

  /** Runs body with the average as the parameters and restores them afterwards, also when it throws or awaits. */
  scope<T>(body: () => T): T {
    this.store();
    this.copyTo();
    let result: T;
    try {
      result = body();
    } catch (error) {
      this.restore();
      throw error;
    }
    if (result instanceof Promise) return result.finally(() => this.restore()) as T;
    this.restore();
    return result;
  }

  /**
   * `decay`, `num_updates` and the shadows, named as in the original's `model_ema.*`. The shadows stay the
   * average's own: do not dispose them.
   */
  stateDict(): Record<string, Tensor> {
    return {
      decay: tensor(this.decay),
      num_updates: tensor(this.numUpdates, { dtype: 'int32' }),
      ...Object.fromEntries(this.keys.map((key, i) => [key, this.shadows[i]])),
    };
  }

  /** Goes on from a saved average, copying it. All problems are reported at once and change nothing. */
  async loadStateDict(state: Readonly<Record<string, Tensor>>): Promise<void> {
    const wanted = ['decay', 'num_updates', ...this.keys];
    const missing = wanted.filter((key) => !Object.hasOwn(state, key));
    const unexpected = Object.keys(state).filter((key) => !wanted.includes(key));
    if (missing.length + unexpected.length > 0)
      throw new ArgumentError(
        `Ema.loadStateDict: missing keys: ${missing.join(', ') || 'none'}; unexpected keys: ${unexpected.join(', ') || 'none'}`,
      );
    this.keys.forEach((key, i) =>
      checkShape(
        state[key].shape.join() === this.shadows[i].shape.join(),
        () =>
          `Ema.loadStateDict: ${key} is [${state[key].shape.join(', ')}], expected [${this.shadows[i].shape.join(', ')}]`,
      ),
    );
    const [decay, numUpdates] = await Promise.all([state.decay.item(), state.num_updates.item()]);
    this.decay = decay;
    this.numUpdates = numUpdates;
    this.keys.forEach((key, i) => copyInto(state[key], this.shadows[i]));
  }

  /** Frees the average. */
  dispose(): void {
    for (const shadow of this.shadows) shadow.dispose();
    this.stored?.forEach((x) => x.dispose());
    this.stored = null;
  }
}

function copyOf(x: Tensor, dtype: Tensor['dtype'], device = x.device): Tensor {
  const copy = keep(empty(x.shape, { dtype, device }));
  copyInto(x, copy);
  return copy;
}
