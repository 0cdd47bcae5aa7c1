import { addon, native, type Id } from './native.js';
import { defaultDevice, device as findDevice, type Device } from './device.js';
import { dtypeInfo, isFloating, type DType, type TypedArray } from './dtype.js';
import { ArgumentError, check, DisposedError, DTypeError } from './errors.js';
import {
  collectWith,
  currentScope,
  type History,
  type Lease,
  type Owned,
  type Scope,
} from './ownership.js';
import { noteCreation } from './leaks.js';
import { currentRecording, refuseInRecording } from './recording.js';

const kernels = native<{ cast(x: Id, y: Id): void }>('cast');

let clock = 0;

/** @internal Numbers what operations save of memory, and what writes to it in place: later is higher. */
export const tick = (): number => ++clock;

/** A native tensor shared by handles in JavaScript. Released with the last of them. */
export class Reference {
  private count = 1;
  private lease: Lease | null;
  private readonly place: number;
  /** Keeps account of writes for all views of one memory. */
  private readonly base: Reference;
  private lastWrite = 0;

  /** @param viewed whose memory a view shares */
  constructor(
    readonly id: Id,
    viewed?: Reference,
  ) {
    this.base = viewed ? viewed.base : this;
    this.lease = currentScope()?.lease() ?? null;
    this.place = this.lease ? this.lease.add(id) : collectWith(this, id);
  }

  retain(): this {
    ++this.count;
    return this;
  }

  release(): void {
    if (--this.count > 0) return;
    addon.release(this.id);
    this.lease?.remove(this.place);
    this.lease = null; // views hold on to their base, and should not to what was made beside it
  }

  /** Number of the last write in place, through whichever view; 0: none. */
  get written(): number {
    return this.base.lastWrite;
  }

  noteWrite(): void {
    this.base.lastWrite = tick();
    currentRecording()?.written.add(this.base);
  }

  /** Whether writing to this memory would be seen through another tensor. */
  get shared(): boolean {
    return this.count > 1 || addon.isShared(this.id);
  }
}

export interface TensorOptions {
  /** Default `'float32'`. */
  dtype?: DType;
  /** A device or its name. Default: `defaultDevice()`. */
  device?: Device | string;
}

/**
 * A dense, contiguous, row-major array on a device: a handle on shared memory, disposed by its scope, by
 * `dispose()`, or in the end by the garbage collector. Operations enqueue and return at once; only reading
 * waits.
 */
export class Tensor implements Owned {
  /** @internal The operation that made this tensor, while it is recorded. */
  node: History | null = null;
  /** @internal Which of the operation's outputs this is. */
  nodeOutput = 0;
  /** @internal */
  scope: Scope | null = null;
  /** @internal */
  scopeIndex = 0;
  private leafRequiresGrad = false;
  private gradient: Tensor | null = null;
  private reference: Reference | null;

  /** @internal Use `empty`, `tensor`, `zeros`, ... */
  constructor(
    reference: Reference,
    readonly shape: readonly number[],
    readonly dtype: DType,
    readonly device: Device,
  ) {
    this.reference = reference;
    currentScope()?.add(this);
    noteCreation(this);
  }

  /** Number of elements. */
  get numel(): number {
    let product = 1;
    for (const dim of this.shape) product *= dim;
    return product;
  }

  /** Size of the elements in bytes. */
  get bytes(): number {
    return this.numel * dtypeInfo(this.dtype).bytes;
  }

  get rank(): number {
    return this.shape.length;
  }

  /** Whether `backward()` reaches this tensor. Settable on leaves of a floating dtype. */
  get requiresGrad(): boolean {
    return this.leafRequiresGrad || this.node !== null;
  }

  set requiresGrad(value: boolean) {
    if (this.node)
      throw new ArgumentError(
        'requiresGrad can be set on leaves only; use detach() to cut a history',
      );
    if (value && !isFloating(this.dtype))
      throw new DTypeError(`requiresGrad needs a floating dtype, got ${this.dtype}`);
    this.leafRequiresGrad = value;
  }

  /**
   * Gradient of the last `backward()` calls, summed; null before the first. Leaves only. What is set here is taken
   * out of its scope: it lives until it is disposed, as by `zeroGrad()`.
   */
  get grad(): Tensor | null {
    return this.gradient;
  }

  set grad(value: Tensor | null) {
    value?.scope?.give(value, null);
    this.gradient = value;
  }

  /** @internal The native tensor. Throws a DisposedError after `dispose()`. */
  get id(): Id {
    return this.memory.id;
  }

  /** @internal */
  get memory(): Reference {
    if (!this.reference)
      throw new DisposedError(
        `${this.describe()} was used after it was disposed. Tensors made inside tidy() or a scope end with ` +
          'it: return them from tidy, or keep() them.',
      );
    return this.reference;
  }

  get disposed(): boolean {
    return this.reference === null;
  }

  /** Gives the memory back. A second call does nothing. */
  dispose(): void {
    if (!this.reference) return;
    this.reference.release();
    this.reference = null;
    this.scope?.remove(this);
    this.node?.drop();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal Another handle on the same native tensor, without history. */
  alias(): Tensor {
    return new Tensor(this.memory.retain(), this.shape, this.dtype, this.device);
  }

  /** `Tensor(float32, [2, 3])` */
  describe(): string {
    return `Tensor(${this.dtype}, [${this.shape.join(', ')}])`;
  }

  toString(): string {
    return this.disposed ? `${this.describe()} (disposed)` : this.describe();
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }

  /**
   * The elements in row-major order, when everything enqueued before has run. 16-bit floats come as
   * Float32Array, int64 as BigInt64Array, bool as Uint8Array of 0 and 1. Rejects with the fault of an
   * operation that failed while it ran.
   */
  async data(): Promise<TypedArray> {
    const source = this.readable();
    try {
      return await addon.read(source.id, new (dtypeInfo(source.dtype).array)(this.numel));
    } finally {
      if (source !== this) source.dispose();
    }
  }

  /** As {@link data}, blocking the event loop: for scripts and tests. */
  dataSync(): TypedArray {
    const source = this.readable();
    try {
      const into = new (dtypeInfo(source.dtype).array)(this.numel);
      addon.readSync(source.id, into);
      return into;
    } finally {
      if (source !== this) source.dispose();
    }
  }

  /** The value of a one-element tensor. int64 beyond 2^53 loses digits; read `data()` for those. */
  async item(): Promise<number> {
    this.checkSingle();
    return Number((await this.data())[0]);
  }

  /** As {@link item}, blocking the event loop. */
  itemSync(): number {
    this.checkSingle();
    return Number(this.dataSync()[0]);
  }

  private checkSingle(): void {
    check(this.numel === 1, () => `item: expected one element, got ${this.describe()}; use data()`);
  }

  // JavaScript has no 16-bit float arrays: those are widened first.
  private readable(): Tensor {
    refuseInRecording(
      'a value is read (data, item) while work is recorded',
      'Return the tensor and read it outside',
    );
    if (this.dtype !== 'bfloat16' && this.dtype !== 'float16') return this;
    const wide = empty(this.shape, { dtype: 'float32', device: this.device });
    kernels.cast(this.id, wide.id);
    return wide;
  }
}

/**
 * An uninitialised tensor: how operations make room for results.
 * @param shape becomes the tensor's own.
 * @param like dtype and device, or a tensor to take them from.
 * @internal
 */
export function empty(shape: readonly number[], like: TensorOptions = {}): Tensor {
  const target = like.device === undefined ? defaultDevice() : findDevice(like.device);
  const dtype = like.dtype ?? 'float32';
  const id = addon.empty(target.index, dtypeInfo(dtype).code, ...shape);
  return new Tensor(new Reference(id), shape, dtype, target);
}

/** @internal A tensor of another shape over the same memory, without history. */
export function viewOf(x: Tensor, shape: readonly number[], offset = 0): Tensor {
  const reference = new Reference(addon.view(x.id, offset, ...shape), x.memory);
  return new Tensor(reference, shape, x.dtype, x.device);
}

/** @internal For whatever writes to tensors that others may know: what was saved or made of their values is void. */
export function noteWritten(tensors: Iterable<Tensor>): void {
  for (const x of tensors) x.memory.noteWrite();
}

/** @internal Copies host values into a tensor of the same byte length, in queue order. */
export function upload(to: Tensor, from: TypedArray): void {
  refuseInRecording(
    'a tensor is made from host data while work is recorded',
    'Make it outside, or pass it as an input',
  );
  addon.write(to.id, from);
}
