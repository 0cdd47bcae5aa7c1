import { noGrad } from '../autograd/index.js';
import { zeros } from '../creation.js';
import { ArgumentError, check, checkShape } from '../errors.js';
import { refuseInRecording } from '../recording.js';
import { cast, eq, where } from '../ops/index.js';
import { keep, tidy } from '../scope.js';
import { empty, noteWritten, Tensor } from '../tensor.js';
import { isFloating } from '../dtype.js';
import { copyInto } from './copy.js';

/** Parameters that are updated with the same options. */
export type ParamGroup<Options> = { params: Tensor[] } & Options;

/** What an optimizer takes: parameters, or groups that override some options. */
export type Parameters<Options> =
  Iterable<Tensor> | Iterable<{ params: Iterable<Tensor> } & Partial<Options>>;

/** An optimizer's memory, for a checkpoint: tensors, and plain data that survives JSON. */
export interface OptimizerState {
  /** `exp_avg.3` is that slot of the fourth parameter, counted over all groups. */
  tensors: Record<string, Tensor>;
  /** Updates that each parameter has seen. */
  steps: number[];
  /** Options of each group. */
  groups: Record<string, unknown>[];
}

export interface StepOptions {
  /** One float32 number that every gradient is multiplied with, such as the inverse of a loss scale. */
  gradScale?: Tensor;
}

/** @internal Parameters that one kernel call can update: same group, same step, same kind of storage. */
export interface Batch<Options> {
  group: ParamGroup<Options>;
  /** Number of this update, from 1. */
  step: number;
  params: Tensor[];
  grads: Tensor[];
  /** float32 copies of 16-bit parameters, or empty. */
  masters: Tensor[];
}

const wide = (x: Tensor): 'float32' | 'float64' => (x.dtype === 'float64' ? 'float64' : 'float32');

/**
 * Base of the optimizers. Parameters without a gradient are passed over. 16-bit parameters are updated on
 * float32 masters, of which they become rounded copies; where something else writes to such a parameter, as
 * `loadStateDict` does, the master follows. State is float32 (float64 beside float64 parameters).
 */
export abstract class Optimizer<Options extends { lr: number }> {
  readonly groups: ParamGroup<Options>[];
  private readonly params: Tensor[];
  private readonly position: Map<Tensor, number>;
  private readonly slots = new Map<string, (Tensor | undefined)[]>();
  private steps: number[];
  /** Of parameters with a master: the last write that it knows of. */
  private readonly followed: number[] = [];

  constructor(parameters: Parameters<Options>, defaults: Options) {
    const name = new.target.name;
    const given = [...parameters] as (Tensor | ({ params: Iterable<Tensor> } & Partial<Options>))[];
    const bare = given.every((item) => item instanceof Tensor);
    const groups = bare
      ? [{ params: given as Tensor[] }]
      : (given as ({ params: Iterable<Tensor> } & Partial<Options>)[]);
    this.groups = groups.map((group) => ({ ...defaults, ...group, params: [...group.params] }));
    this.params = this.groups.flatMap((group) => group.params);
    this.position = new Map(this.params.map((param, i) => [param, i]));
    this.steps = this.params.map(() => 0);
    check(this.params.length > 0, () => `${name}: no parameters were given`);
    check(this.position.size === this.params.length, () => `${name}: a parameter was given twice`);
    for (const param of this.params)
      check(
        param instanceof Tensor && isFloating(param.dtype),
        () => `${name}: parameters are tensors of a floating dtype, got ${String(param)}`,
      );
  }

  /** Updates every parameter that has a gradient. */
  step(options: StepOptions = {}): void {
    refuseInRecording(
      'an optimizer steps while work is recorded, and its step number and learning rate would stand still',
      'Step after the captured step',
    );
    for (const batch of this.batches()) {
      this.update(batch, options.gradScale ?? null);
      noteWritten(batch.params);
      if (batch.masters.length > 0) for (const param of batch.params) this.noteFollowed(param);
    }
  }

  protected abstract update(batch: Batch<Options>, gradScale: Tensor | null): void;

  /** Drops all gradients. */
  zeroGrad(): void {
    for (const param of this.params) {
      param.grad?.dispose();
      param.grad = null;
    }
  }

  /** Frees the state. The optimizer starts afresh when it is used again. */
  dispose(): void {
    for (const slot of this.slots.values()) for (const tensor of slot) tensor?.dispose();
    this.slots.clear();
    this.followed.length = 0;
    this.steps.fill(0);
  }

  /** The memory to save. The tensors stay the optimizer's own: do not dispose them. */
  stateDict(): OptimizerState {
    const tensors: Record<string, Tensor> = {};
    for (const [slot, list] of this.slots)
      list.forEach((tensor, i) => {
        if (tensor) tensors[`${slot}.${i}`] = tensor;
      });
    const groups = this.groups.map(({ params, ...options }) => ({
      ...options,
      params: params.length,
    }));
    return { tensors, steps: [...this.steps], groups };
  }

  /**
   * Goes on from a saved state, copying it.
   * @throws ArgumentError or ShapeError when it belongs to other parameters; nothing is changed then.
   */
  loadStateDict(state: OptimizerState): void {
    const name = this.constructor.name;
    check(
      state.steps.length === this.params.length &&
        state.groups.length === this.groups.length &&
        state.groups.every((group, i) => group.params === this.groups[i].params.length),
      () =>
        `${name}.loadStateDict: the state is of ${state.steps.length} parameters in ${state.groups.length} groups, ` +
        `this optimizer has ${this.params.length} in ${this.groups.length}`,
    );
    const entries = Object.entries(state.tensors).map(([key, from]) => {
      const match = /^(\w+)\.(\d+)$/.exec(key);
      const param = match && this.params[Number(match[2])];
      if (!param) throw new ArgumentError(`${name}.loadStateDict: unexpected entry '${key}'`);
      checkShape(
        from.shape.join() === param.shape.join(),
        () =>
          `${name}.loadStateDict: ${key} is [${from.shape.join(', ')}], its parameter [${param.shape.join(', ')}]`,
      );
      return { slot: match[1], param, from };
    });
    this.dispose();
    for (const { slot, param, from } of entries) copyInto(from, this.slot(slot, param, false));
    this.steps = [...state.steps];
    state.groups.forEach(({ params: _count, ...options }, i) =>
      Object.assign(this.groups[i], options),
    );
  }

  /** @internal State of a parameter, made on first use: zeros, or uninitialised. */
  protected slot(name: string, param: Tensor, zeroed = true): Tensor {
    const list = this.slots.get(name) ?? [];
    this.slots.set(name, list);
    const like = { dtype: wide(param), device: param.device };
    return (list[this.position.get(param)!] ??= keep(
      zeroed ? zeros(param.shape, like) : empty(param.shape, like),
    ));
  }

  private master(param: Tensor): Tensor {
    const i = this.position.get(param)!;
    const known = this.slots.get('master')?.[i];
    const master = known ?? this.slot('master', param, false);
    if (!known) copyInto(param, master);
    else if (this.followed[i] !== param.memory.written) follow(param, master);
    return master;
  }

  private noteFollowed(param: Tensor): void {
    this.followed[this.position.get(param)!] = param.memory.written;
  }

  private batches(): Batch<Options>[] {
    const batches: Batch<Options>[] = [];
    for (const group of this.groups) {
      const byKind = new Map<string, Batch<Options>>();
      for (const param of group.params) {
        if (!param.grad) continue;
        const step = ++this.steps[this.position.get(param)!];
        const narrow = param.dtype === 'bfloat16' || param.dtype === 'float16';
        const kind = `${step} ${narrow} ${param.device}`;
        let batch = byKind.get(kind);
        if (!batch) byKind.set(kind, (batch = { group, step, params: [], grads: [], masters: [] }));
        batch.params.push(param);
        batch.grads.push(param.grad);
        if (narrow) batch.masters.push(this.master(param));
      }
      batches.push(...byKind.values());
    }
    return batches;
  }
}

// Where a parameter is what its master rounds to, the master keeps its digits: an average that took the parameter's
// place for a while leaves no trace.
function follow(param: Tensor, master: Tensor): void {
  noGrad(() =>
    tidy(() => {
      const same = eq(cast(master, param.dtype), param);
      copyInto(where(same, master, cast(param, master.dtype)), master);
    }),
  );
}
