// Tensors of a PyTorch checkpoint before they are read: a view, with offset and strides, of a storage.
import type { DType } from '../../dtype.js';
import { DTypeError, FileError } from '../../errors.js';
import type { Tensor } from '../../tensor.js';
import { swapBytes } from '../byte_order.js';
import { ownBytes } from '../positional.js';
import type { TensorSource } from '../state.js';
import { tensorOf } from '../tensor_bytes.js';
import { supportedTypes, type ElementType } from './element_type.js';
import { gather, isRowMajor } from './strided.js';
import { shownNumber } from './values.js';

/** The file that storages lie in. */
export interface StorageFile {
  readonly path: string;
  readonly bytes: number;
  /** Whether elements are little-endian. */
  readonly little: boolean;
  /** Fills `into` from this byte of the storage on, verified. */
  read(storage: StorageRef, begin: number, into: Uint8Array): Promise<void>;
}

/** A block of elements in the file, shared by the tensors that view it. */
export class StorageRef {
  /** @internal */
  constructor(
    readonly file: StorageFile,
    readonly key: string,
    readonly type: ElementType,
    /** Number of elements. */
    readonly count: number,
  ) {}
}

/** The negation or conjugation that a tensor's storage still lacks. */
export const lazyBits = ['neg', 'conj'] as const;
export type LazyBit = (typeof lazyBits)[number];

/** A tensor of the file; `read` makes it contiguous. */
export class TensorRef implements TensorSource {
  readonly shape: readonly number[];
  readonly #storage: StorageRef;
  readonly #type: ElementType;
  readonly #offset: number;
  readonly #strides: readonly number[];
  readonly #lazy: LazyBit | null;

  /**
   * @internal Offset and strides count elements of `type`.
   * @throws RangeError with the reason when the view leaves its storage
   */
  constructor(
    storage: StorageRef,
    type: ElementType,
    offset: number,
    shape: readonly number[],
    strides: readonly number[],
    lazy: LazyBit | null = null,
  ) {
    const available = Math.floor((storage.count * storage.type.bytes) / type.bytes);
    checkView(offset, shape, strides, available);
    this.shape = [...shape];
    this.#storage = storage;
    this.#type = type;
    this.#offset = offset;
    this.#strides = [...strides];
    this.#lazy = lazy;
  }

  /** @throws DTypeError for element types that tensors here cannot hold, FileError for bombs and lazy views */
  get dtype(): DType {
    return this.check(`a tensor of shape [${this.shape.join(', ')}]`);
  }

  /** @internal The dtype; errors call the tensor `what`. */
  check(what: string): DType {
    const { file } = this.#storage;
    const { name, bytes, dtype } = this.#type;
    if (!dtype) {
      throw new DTypeError(
        `openCheckpoint: ${what} in ${file.path} has dtype ${name}. ` +
          `Supported are ${supportedTypes.join(', ')}; convert the tensor before saving it.`,
      );
    }
    if (this.#lazy !== null) {
      throw new FileError(
        `${what} was saved with its ${this.#lazy} bit set: the file holds other values than the tensor had. ` +
          `Call .resolve_${this.#lazy}() on it before saving it.`,
        file.path,
      );
    }
    // Strides of 0 let a few bytes stand for any number of elements.
    const needed = this.shape.reduce((a, b) => a * b, bytes);
    if (needed > file.bytes) {
      const text = `${what} repeats its elements to ${needed} bytes, more than the whole file has`;
      throw new FileError(`${text} (${file.bytes}).`, file.path);
    }
    return dtype;
  }

  /** Reads the tensor's own bytes; the caller owns the result. */
  async read(): Promise<Tensor> {
    const { dtype, shape } = this;
    const size = this.#type.bytes;
    const begin = this.#offset * size;
    const elements = shape.reduce((a, b) => a * b, 1);
    const bytes = ownBytes(elements * size);
    if (elements > 0 && isRowMajor(shape, this.#strides)) {
      await this.#fetch(begin, bytes);
    } else if (elements > 0) {
      const span = ownBytes(spanOf(shape, this.#strides) * size);
      await this.#fetch(begin, span);
      gather(span, size, shape, this.#strides, bytes);
    }
    return tensorOf(bytes, shape, dtype);
  }

  async #fetch(begin: number, into: Uint8Array): Promise<void> {
    const { file } = this.#storage;
    await file.read(this.#storage, begin, into);
    if (!file.little) swapBytes(into, this.#type.bytes);
  }
}

/** Elements from the first of a view to its last. */
function spanOf(shape: readonly number[], strides: readonly number[]): number {
  return shape.reduce((span, extent, axis) => span + (extent - 1) * strides[axis], 1);
}

// PyTorch's own limit.
const mostAxes = 64;

function checkView(
  offset: number,
  shape: readonly number[],
  strides: readonly number[],
  available: number,
): void {
  for (const { length } of [shape, strides])
    if (length > mostAxes) throw new RangeError(`a tensor has ${length} axes`);
  const refuse = (problem: string): never => {
    const [sizes, steps] = [shape, strides].map((list) => list.map(shownNumber).join(', '));
    const view = `shape [${sizes}], strides [${steps}] and offset ${shownNumber(offset)}`;
    throw new RangeError(`a tensor with ${view} ${problem}`);
  };
  if (shape.length !== strides.length) refuse('has not one stride for each axis');
  if (![offset, ...shape, ...strides].every((n) => Number.isSafeInteger(n) && n >= 0)) {
    refuse('holds a number that is no possible size or position');
  }
  let elements = shape.includes(0) ? 0 : 1;
  for (const extent of shape) {
    elements *= extent;
    if (!Number.isSafeInteger(elements * 16)) refuse('has an impossible number of elements');
  }
  // Without elements it may lie anywhere, as slices beyond the end of a tensor do.
  if (elements === 0) return;
  const end = offset + spanOf(shape, strides);
  if (end > available) refuse(`needs ${end} elements, but its storage has ${available}`);
}
