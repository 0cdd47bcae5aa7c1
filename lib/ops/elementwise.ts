// Every function that works element by element. Long because it is the list of them.
import { op } from '../autograd/index.js';
import { checkDType, checkFloating, checkSameDType, checkTensors, notATensor } from '../checks.js';
import { isFloating, type DType } from '../dtype.js';
import { check, DTypeError, ShapeError } from '../errors.js';
import { native, type Id } from '../native.js';
import { tidy } from '../scope.js';
import { empty, Tensor } from '../tensor.js';
import { needsWide, needsWidest, toWide, toWidest } from './autocast.js';
import { cast } from './cast.js';

type UnaryForward = (x: Id, p: number, q: number, y: Id) => void;
type UnaryBackward = (x: Id, dy: Id, p: number, q: number, dx: Id) => void;
type Combine = (a: Id, b: Id, y: Id) => void;

/** What two operands broadcast to, by NumPy's rules. Throws a ShapeError that shows both. */
export function broadcastShape(name: string, ...shapes: (readonly number[])[]): readonly number[] {
  if (shapes.every((shape) => sameShape(shape, shapes[0]))) return shapes[0];
  const rank = Math.max(...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, d) => {
    let extent = 1;
    for (const shape of shapes) {
      const own = shape[d - rank + shape.length] ?? 1;
      if (own === 1) continue;
      if (extent !== 1 && own !== extent)
        throw new ShapeError(
          `${name}: shapes ${shapes.map((s) => `[${s.join(', ')}]`).join(' and ')} do not broadcast: ` +
            `${extent} against ${own}`,
        );
      extent = own;
    }
    return extent;
  });
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

const integerRange: Partial<Record<DType, [low: number, high: number]>> = {
  int32: [-(2 ** 31), 2 ** 31 - 1],
  int64: [-(2 ** 53), 2 ** 53],
  uint8: [0, 255],
  bool: [0, 1],
};

// A number stands for a tensor of x's dtype: one that the dtype lacks would silently become another.
function checkNumber(name: string, x: Tensor, value: number): void {
  const range = integerRange[x.dtype];
  if (!range || (Number.isInteger(value) && value >= range[0] && value <= range[1])) return;
  throw new DTypeError(
    `${name}: ${value} is no ${x.dtype}; convert the tensor with .to('float32')`,
  );
}

type Integers = 'floating only' | 'integers too';
// What the kernel of the gradient reads: where that is the gradient alone, x is not saved.
type Reads = 'x' | 'dy only';

// An op of one operand and up to two numbers, from the kernels `stem_forward` and `stem_backward`.
function unary(
  name: string,
  stem: string,
  integers: Integers = 'floating only',
  reads: Reads = 'x',
): (x: Tensor, p?: number, q?: number) => Tensor {
  const kernels = native<Record<string, UnaryForward & UnaryBackward>>(
    `${stem}_forward`,
    `${stem}_backward`,
  );
  const forward: UnaryForward = kernels[`${stem}_forward`];
  const backward: UnaryBackward = kernels[`${stem}_backward`];
  return (x, p = 0, q = 0) => {
    if (!x) throw notATensor(name, 'x', x);
    checkTensors(name, { x });
    if (integers === 'floating only') checkFloating(name, { x });
    else if (x.dtype === 'bool')
      throw new DTypeError(`${name}: x is bool; convert it with .to('float32')`);
    checkNumber(name, x, p);
    checkNumber(name, x, q);
    const y = empty(x.shape, x);
    forward(x.id, p, q, y.id);
    return op({
      name,
      inputs: [x],
      output: y,
      save: reads === 'x' ? [x] : [],
      backward: ([dy], [x = dy]) => {
        const dx = empty(dy.shape, dy);
        backward(x.id, dy.id, p, q, dx.id);
        return [dx];
      },
    });
  };
}

/** A function of one tensor, element by element. */
type Unary = (x: Tensor) => Tensor;
const plain = (name: string, stem = name, integers?: Integers, reads?: Reads): Unary => {
  const run = unary(name, stem, integers, reads);
  return (x) => run(x);
};
// As plain; in float32 inside autocast(), because 16 bits lack its range or its digits.
const wide = (name: string, integers?: Integers): Unary => {
  const run = unary(name, name, integers);
  return (x) => (needsWide(x) ? tidy(() => run(toWide(x))) : run(x));
};

/** −x */
export const neg = plain('neg', 'neg', 'integers too', 'dy only');
/** |x|; its gradient at 0 is 0. */
export const abs = plain('abs', 'abs', 'integers too');
/** −1, 0 or 1. */
export const sign = plain('sign', 'sign', 'integers too', 'dy only');
/** x² */
export const square = wide('square', 'integers too');
/** √x */
export const sqrt = plain('sqrt');
/** 1/√x */
export const rsqrt = wide('rsqrt');
/** 1/x */
export const reciprocal = wide('reciprocal');
/** e^x */
export const exp = wide('exp');
/** e^x − 1, exact near 0. */
export const expm1 = wide('expm1');
/** Natural logarithm. */
export const log = wide('log');
/** ln(1 + x), exact near 0. */
export const log1p = wide('log1p');
export const sin = plain('sin');
export const cos = plain('cos');
/** Largest integer not above x. Gradient 0. */
export const floor = plain('floor', 'floor', 'floating only', 'dy only');
/** Smallest integer not below x. Gradient 0. */
export const ceil = plain('ceil', 'ceil', 'floating only', 'dy only');
/** Nearest integer, halves to the even one. Gradient 0. */
export const round = plain('round', 'round', 'floating only', 'dy only');
/** Error function. */
export const erf = plain('erf');
export const tanh = plain('tanh');
/** 1 / (1 + e^−x) */
export const sigmoid = plain('sigmoid');
/** ln(1 + e^x), without overflow. */
export const softplus = wide('softplus');
/** x·σ(x), also called swish. */
export const silu = plain('silu');
/** x·Φ(x), the exact form with the error function. */
export const gelu = plain('gelu');
/** The tanh approximation of GELU (Hendrycks and Gimpel, 2016). */
export const geluTanh = plain('geluTanh', 'gelu_tanh');
/** x·σ(1.702 x): CLIP's approximation of GELU. */
export const quickGelu = plain('quickGelu', 'quick_gelu');
/** max(x, 0) */
export const relu = plain('relu', 'relu', 'integers too');

const leakyReluOp = unary('leakyRelu', 'leaky_relu');
/** x above zero, slope·x below. Default slope 0.01. */
export const leakyRelu = (x: Tensor, slope = 0.01): Tensor => leakyReluOp(x, slope);

const clampOp = unary('clamp', 'clamp', 'integers too');
/**
 * x limited to [min, max]; a missing limit does not limit. No gradient flows where x lies outside.
 * @throws ArgumentError when min > max.
 */
export function clamp(x: Tensor, min = -Infinity, max = Infinity): Tensor {
  check(min <= max, () => `clamp: min (${min}) must not exceed max (${max})`);
  checkTensors('clamp', { x });
  if (x.dtype === 'int64' && (min === -Infinity || max === Infinity))
    return tidy(() => clampOpen(x, min, max));
  const [low, high] = integerRange[x.dtype] ?? [-Infinity, Infinity];
  return clampOp(x, min === -Infinity ? low : min, max === Infinity ? high : max);
}

// int64 with one limit or none: its ends, which would stand for the others, have more digits than a number.
function clampOpen(x: Tensor, min: number, max: number): Tensor {
  if (min !== -Infinity) return extreme('maximum', x, operand('clamp', x, min), gt);
  if (max !== Infinity) return extreme('minimum', x, operand('clamp', x, max), lt);
  return addScalar(x, 0);
}

/** A tensor or a number; a number takes the tensor's dtype and costs no memory. */
export type Operand = Tensor | number;

interface Combination {
  forward: Combine;
  /** Gradients of both operands in the broadcast shape. */
  backward: (dy: Tensor, a: Tensor, b: Tensor, needs: boolean[]) => (Tensor | null)[];
}

function combine(name: string, a: Tensor, b: Tensor, { forward, backward }: Combination): Tensor {
  if (!a || !b) throw notATensor(name, a ? 'b' : 'a', a ? b : a);
  checkTensors(name, { a, b });
  if (a.dtype !== b.dtype && needsWidest([a, b]))
    return tidy(() => combine(name, ...toWidest([a, b]), { forward, backward }));
  checkSameDType(name, { a, b });
  if (a.dtype === 'bool')
    throw new DTypeError(`${name}: operands are bool; convert them with .to('float32')`);
  const y = empty(broadcastShape(name, a.shape, b.shape), a);
  forward(a.id, b.id, y.id);
  return op({
    name,
    inputs: [a, b],
    output: y,
    save: name === 'add' || name === 'sub' ? [] : [a, b],
    backward: ([dy], [a, b], needs) => backward(dy, a, b, needs),
  });
}

const kernels = native<Record<string, Combine>>(
  'add_forward',
  'sub_forward',
  'mul_forward',
  'div_forward',
  'pow_forward',
  'maximum_forward',
  'minimum_forward',
);
const addScalar = unary('add', 'add_scalar', 'integers too', 'dy only');
const mulScalar = unary('mul', 'mul_scalar', 'integers too', 'dy only');
const subScalar = unary('sub', 'sub_scalar', 'integers too', 'dy only');
const scalarSub = unary('sub', 'scalar_sub', 'integers too', 'dy only');
const divScalar = unary('div', 'div_scalar', 'floating only', 'dy only');
const scalarDiv = unary('div', 'scalar_div');
const powScalar = unary('pow', 'pow_scalar');

/** a + b with broadcasting. Tensors must have the same dtype; at most one operand may be a number. */
export function add(a: Operand, b: Operand): Tensor {
  if (typeof b === 'number') return addScalar(a as Tensor, b);
  if (typeof a === 'number') return addScalar(b, a);
  return combine('add', a, b, { forward: kernels.add_forward, backward: (dy) => [dy, dy] });
}

/** a − b with broadcasting; see {@link add}. */
export function sub(a: Operand, b: Operand): Tensor {
  if (typeof b === 'number') return subScalar(a as Tensor, b);
  if (typeof a === 'number') return scalarSub(b, a);
  return combine('sub', a, b, {
    forward: kernels.sub_forward,
    backward: (dy, _a, _b, needs) => [dy, needs[1] ? neg(dy) : null],
  });
}

/** a · b, element by element, with broadcasting; see {@link add}. */
export function mul(a: Operand, b: Operand): Tensor {
  if (typeof b === 'number') return mulScalar(a as Tensor, b);
  if (typeof a === 'number') return mulScalar(b, a);
  return combine('mul', a, b, {
    forward: kernels.mul_forward,
    backward: (dy, a, b, needs) => [needs[0] ? mul(dy, b) : null, needs[1] ? mul(dy, a) : null],
  });
}

/** a / b with broadcasting; see {@link add}. Floating dtypes. */
export function div(a: Operand, b: Operand): Tensor {
  if (typeof b === 'number') return divScalar(a as Tensor, b);
  if (typeof a === 'number')
    return needsWide(b) ? tidy(() => scalarDiv(toWide(b), a)) : scalarDiv(b, a);
  checkFloating('div', { a, b });
  return combine('div', a, b, {
    forward: kernels.div_forward,
    backward: (dy, a, b, needs) => {
      const da = div(dy, b);
      return [da, needs[1] ? neg(mul(da, div(a, b))) : null];
    },
  });
}

/** a^b with broadcasting; see {@link add}. Floating dtypes. */
export function pow(a: Operand, b: Operand): Tensor {
  if (needsWide(a, b)) return tidy(() => pow(toWide(a), toWide(b)));
  if (typeof b === 'number') return b === 2 ? square(a as Tensor) : powScalar(a as Tensor, b);
  if (typeof a === 'number') {
    check(a > 0, () => `pow: a number to the power of a tensor must be positive, got ${a}`);
    return powOfNumber(a, b);
  }
  checkFloating('pow', { a, b });
  return combine('pow', a, b, {
    forward: kernels.pow_forward,
    backward: (dy, a, b, needs) => [
      needs[0] ? mul(dy, where(eq(b, 0), 0, mul(b, pow(a, sub(b, 1))))) : null, // b·a^(b−1)
      needs[1] ? mul(dy, where(eq(a, 0), 0, mul(pow(a, b), log(a)))) : null, // a^b·ln a
    ],
  });
}

function powOfNumber(a: number, b: Tensor): Tensor {
  checkTensors('pow', { b });
  checkFloating('pow', { b });
  // A base that 16 bits round would be wrong by as many digits as the exponent has.
  if (b.dtype === 'bfloat16' || b.dtype === 'float16')
    return tidy(() => cast(powOfNumber(a, cast(b, 'float32')), b.dtype));
  const base = operand('pow', b, a);
  const y = empty(b.shape, b);
  kernels.pow_forward(base.id, b.id, y.id);
  base.dispose();
  return op({
    name: 'pow',
    inputs: [b],
    output: y,
    save: [y],
    backward: ([dy], [y]) => [mul(mul(dy, y), Math.log(a))],
  });
}

function extreme(
  name: 'maximum' | 'minimum',
  a: Tensor,
  b: Tensor,
  wins: (a: Tensor, b: Tensor) => Tensor,
): Tensor {
  return combine(name, a, b, {
    forward: name === 'maximum' ? kernels.maximum_forward : kernels.minimum_forward,
    backward: (dy, a, b, needs) => {
      // 1 where the operand wins, ½ on ties, 0 elsewhere.
      const half = mul(eq(a, b).to(dy.dtype), 0.5);
      return [
        needs[0] ? mul(dy, add(wins(a, b).to(dy.dtype), half)) : null,
        needs[1] ? mul(dy, add(wins(b, a).to(dy.dtype), half)) : null,
      ];
    },
  });
}

/** The larger operand; NaN wins; on ties both get half of the gradient. See {@link add}. */
export function maximum(a: Operand, b: Operand): Tensor {
  if (typeof b === 'number') return clamp(a as Tensor, b);
  if (typeof a === 'number') return clamp(b, a);
  return extreme('maximum', a, b, gt);
}

/** The smaller operand; NaN wins; on ties both get half of the gradient. See {@link add}. */
export function minimum(a: Operand, b: Operand): Tensor {
  if (typeof b === 'number') return clamp(a as Tensor, -Infinity, b);
  if (typeof a === 'number') return clamp(b, -Infinity, a);
  return extreme('minimum', a, b, lt);
}

// A number as a tensor that broadcasts against x.
function operand(name: string, x: Tensor, value: Operand): Tensor {
  if (value instanceof Tensor) return value;
  checkNumber(name, x, value);
  const y = empty([], x);
  fillKernels.fill(value, y.id);
  return y;
}
const fillKernels = native<{ fill(value: number, y: Id): void }>('fill');

function relation(name: string, logical = false): (a: Tensor, b: Operand) => Tensor {
  const stem = `${name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}_forward`;
  const forward: Combine = native<Record<string, Combine>>(stem)[stem];
  return function relate(a, value): Tensor {
    checkTensors(name, { a });
    const b = operand(name, a, value);
    checkTensors(name, { a, b });
    if (a.dtype !== b.dtype && needsWidest([a, b])) return tidy(() => relate(...toWidest([a, b])));
    checkSameDType(name, { a, b });
    if (logical) checkDType(name, 'a', a, ['bool']);
    const y = empty(broadcastShape(name, a.shape, b.shape), { dtype: 'bool', device: a.device });
    forward(a.id, b.id, y.id);
    if (b !== value) b.dispose();
    return op({ name, inputs: [a, b], output: y, backward: 'not differentiable' });
  };
}

/** a = b as bool, with broadcasting; b may be a number. */
export const eq = relation('eq');
/** a ≠ b as bool. */
export const ne = relation('ne');
/** a < b as bool. */
export const lt = relation('lt');
/** a ≤ b as bool. */
export const le = relation('le');
/** a > b as bool. */
export const gt = relation('gt');
/** a ≥ b as bool. */
export const ge = relation('ge');
/** Both, of bool tensors. */
export const logicalAnd = relation('logicalAnd', true);
/** One or both, of bool tensors. */
export const logicalOr = relation('logicalOr', true);
/** One but not both, of bool tensors. */
export const logicalXor = relation('logicalXor', true);

/** The opposite of a bool tensor. */
export function logicalNot(x: Tensor): Tensor {
  checkTensors('logicalNot', { x });
  checkDType('logicalNot', 'x', x, ['bool']);
  return eq(x, 0);
}

/** Whether each element is not a number. */
export const isNaN = (x: Tensor): Tensor => ne(x, x);

/** Whether each element is neither infinite nor NaN. */
export function isFinite(x: Tensor): Tensor {
  checkTensors('isFinite', { x });
  return isFloating(x.dtype) ? tidy(() => lt(abs(x.detach()), Infinity)) : eq(x, x);
}

const whereKernels = native<{ where_forward(condition: Id, a: Id, b: Id, y: Id): void }>(
  'where_forward',
);

/**
 * a where the condition holds, b elsewhere, with broadcasting.
 * @param condition bool
 */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  const like = a instanceof Tensor ? a : b;
  check(like instanceof Tensor, () => 'where: a or b must be a tensor');
  const [yes, no] = [operand('where', like, a), operand('where', like, b)];
  checkTensors('where', { condition, a: yes, b: no });
  checkDType('where', 'condition', condition, ['bool']);
  if (needsWidest([yes, no])) return tidy(() => where(condition, ...toWidest([yes, no])));
  checkSameDType('where', { a: yes, b: no });
  const y = empty(broadcastShape('where', condition.shape, yes.shape, no.shape), yes);
  whereKernels.where_forward(condition.id, yes.id, no.id, y.id);
  return op({
    name: 'where',
    inputs: [condition, yes, no],
    output: y,
    save: [condition],
    backward: ([dy], [condition], needs) => [
      null,
      needs[1] ? where(condition, dy, 0) : null,
      needs[2] ? where(condition, 0, dy) : null,
    ],
  });
}

/**
 * a + weight · (b − a), with broadcasting: exactly a at weight 0 and b at weight 1, from the nearer of which it goes.
 * @param weight a tensor of the operands' dtype, or a number.
 */
export function lerp(a: Tensor, b: Tensor, weight: Operand): Tensor {
  checkTensors('lerp', { a, b, weight: typeof weight === 'number' ? null : weight });
  checkFloating('lerp', { a, b });
  return tidy(() => {
    const way = sub(b, a);
    if (typeof weight === 'number')
      return Math.abs(weight) < 0.5 ? add(a, mul(way, weight)) : add(b, mul(way, weight - 1));
    const near = lt(abs(weight.detach()), 0.5);
    return add(where(near, a, b), mul(way, where(near, weight, sub(weight, 1))));
  });
}
