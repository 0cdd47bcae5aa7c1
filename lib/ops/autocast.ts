// Mixed precision as a property of the code that runs: autocast() sets the dtype of matrix work for
// everything inside it, and each operation asks here whether its operands need another dtype. What an
// operation does about it is one line in its own file:
//   linear, matmul, conv2d, attention                      the low dtype, weights too
//   softmax, losses, exp, log, powers, sums and means      float32
//   operands that must agree (add, concat, where, ...)     the widest among them
//   norms                                                  as they come: they compute in float32 anyway
import { op } from '../autograd/index.js';
import { isFloating, type DType } from '../dtype.js';
import { check } from '../errors.js';
import { currentContext, withContext, type LowDType, type Precision } from '../ownership.js';
import { keep } from '../scope.js';
import { empty, type Tensor } from '../tensor.js';
import { native, type Id } from '../native.js';
import { cast } from './cast.js';

const kernels = native<{ cast(x: Id, y: Id): void }>('cast');

type Optional = Tensor | null | undefined;

interface Copy {
  readonly tensor: Tensor;
  /** The weight's last write when the copy was made: after another it is stale. */
  readonly written: number;
}

/**
 * The low copies of weights that an outermost region made, so that each is converted once. They are data
 * without history: every use records a conversion of its own.
 */
class WeightCopies {
  private readonly copies = { bfloat16: new Map<Tensor, Copy>(), float16: new Map<Tensor, Copy>() };
  private open = true;

  /** A new handle on the copy, for the current scope. */
  take(weight: Tensor, dtype: LowDType): Tensor {
    if (!this.open) return lowCopy(weight, dtype); // code that outlived its region
    const known = this.copies[dtype].get(weight);
    const { written } = weight.memory;
    if (known?.written === written) return known.tensor.alias();
    known?.tensor.dispose();
    const tensor = keep(lowCopy(weight, dtype));
    this.copies[dtype].set(weight, { tensor, written });
    return tensor.alias();
  }

  close(): void {
    this.open = false;
    this.clear();
  }

  clear(): void {
    for (const copies of Object.values(this.copies)) {
      for (const { tensor } of copies.values()) tensor.dispose();
      copies.clear();
    }
  }
}

function lowCopy(x: Tensor, dtype: LowDType): Tensor {
  const y = empty(x.shape, { dtype, device: x.device });
  kernels.cast(x.id, y.id);
  return y;
}

class Region implements Precision {
  constructor(
    readonly dtype: LowDType | null,
    readonly copies: WeightCopies,
  ) {}
}

const region = (): Region | null => currentContext().precision as Region | null;

/**
 * Runs body with matrix work (`linear`, `matmul`, `conv2d`, `attention`) in a 16-bit dtype, as PyTorch's
 * `torch.autocast`: float32 operands, weights too, are converted where they are used, and a weight once per
 * outermost region; a float32 residual is added afterwards, in float32. Softmax, losses, exponentials,
 * logarithms, powers and sums convert to float32; operands that must agree take the widest dtype among them;
 * all else keeps the dtype that it is given. Norms keep it too (PyTorch's return float32): they compute in
 * float32 whatever they read. float64 is never touched.
 *
 * Weights stay float32, and so do their gradients. Gradient rules run in the dtypes of their forward pass
 * wherever `backward` is called. With float16, small gradients vanish unless the loss is scaled: see
 * `GradScaler`.
 *
 * ```ts
 * const loss = autocast('bfloat16', () => mseLoss(model.forward(x), y));
 * loss.backward();
 * ```
 *
 * @param dtype the dtype of matrix work, or false: operations inside take their operands as they are.
 * @param body may be asynchronous: the region follows its `await`s. Regions nest.
 */
export function autocast<T>(dtype: LowDType | false, body: () => T): T {
  check(
    dtype === false || dtype === 'bfloat16' || dtype === 'float16',
    () => `autocast: expected 'bfloat16', 'float16' or false, got '${String(dtype)}'`,
  );
  const outer = region();
  if (outer)
    return withContext(
      { precision: new Region(dtype === false ? null : dtype, outer.copies) },
      body,
    );
  if (dtype === false) return body();
  return startRegion(dtype, body);
}

function startRegion<T>(dtype: LowDType, body: () => T): T {
  const copies = new WeightCopies();
  let result: T;
  try {
    result = withContext({ precision: new Region(dtype, copies) }, body);
  } catch (error) {
    copies.close();
    throw error;
  }
  if (!(result instanceof Promise)) {
    copies.close();
    return result;
  }
  return result.finally(() => copies.close()) as T;
}

/** @internal Runs body in the region around it, with conversions of weights that are its own. */
export function withOwnCopies<T>(body: () => T): T {
  const dtype = autocastDType();
  return dtype === null ? body() : startRegion(dtype, body);
}

/** @internal Conversions of weights in the region around are made anew when they are next asked for. */
export const forgetWeightCopies = (): void => region()?.copies.clear();

/** The dtype of matrix work here, or null outside {@link autocast}: for operations of your own. */
export const autocastDType = (): LowDType | null => region()?.dtype ?? null;

const isLow = (x: Tensor): boolean => x.dtype === 'bfloat16' || x.dtype === 'float16';
const isLowerable = (x: Tensor): boolean => x.dtype === 'float32' || isLow(x);

/** @internal Whether matrix work on these operands needs another dtype here. */
export function needsLow(...operands: Optional[]): boolean {
  const dtype = autocastDType();
  return dtype !== null && operands.some((x) => x && isLowerable(x) && x.dtype !== dtype);
}

/** @internal An operand of matrix work. */
export function toLow<T extends Optional>(x: T): T;
export function toLow(x: Optional): Optional {
  const { dtype, copies } = region()!;
  if (!x || !isLowerable(x) || x.dtype === dtype) return x;
  return isWeight(x) && x.requiresGrad ? convertWeight(x, dtype!, copies) : cast(x, dtype!);
}

/** @internal An operand that is a weight by its position, trained or frozen. */
export function toLowWeight<T extends Optional>(x: T): T;
export function toLowWeight(x: Optional): Optional {
  if (!x || !isWeight(x)) return toLow(x);
  const { dtype, copies } = region()!;
  return convertWeight(x, dtype!, copies);
}

// A leaf that a scope owns ends with it, and its copy would not.
const isWeight = (x: Tensor): boolean =>
  x.dtype === 'float32' && x.node === null && x.scope === null;

function convertWeight(weight: Tensor, dtype: LowDType, copies: WeightCopies): Tensor {
  return op({
    name: 'cast',
    inputs: [weight],
    output: copies.take(weight, dtype),
    backward: ([dy]) => [cast(dy, 'float32')],
  });
}

/** @internal Whether an operand is too narrow for what must run in float32 here. */
export const needsWide = (...operands: unknown[]): boolean =>
  operands.some((x) => isTensorLike(x) && isLow(x)) && autocastDType() !== null;

/** @internal An operand of what must run in float32. */
export const toWide = <T>(x: T): T => (isTensorLike(x) && isLow(x) ? (cast(x, 'float32') as T) : x);

// Numbers stand beside tensors among operands, and wrong values are refused by the operation.
const isTensorLike = (x: unknown): x is Tensor =>
  typeof x === 'object' && x !== null && 'dtype' in x;

/** @internal Whether floating operands that must agree differ here. */
export const needsWidest = (operands: readonly Tensor[]): boolean =>
  operands.some((x) => x.dtype !== operands[0].dtype) &&
  autocastDType() !== null &&
  operands.every((x) => isFloating(x.dtype));

/** @internal Operands that must agree, in the widest dtype among them. */
export function toWidest<T extends Tensor[]>(operands: readonly [...T]): T {
  const dtype: DType = operands.some((x) => x.dtype === 'float64') ? 'float64' : 'float32';
  return operands.map((x) => cast(x, dtype)) as T;
}
