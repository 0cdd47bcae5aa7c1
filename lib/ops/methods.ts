// Tensor's methods for arithmetic, comparison and reduction: each is the function of the same name with the
// tensor as its first argument.
import { Tensor } from '../tensor.js';
import * as elementwise from './elementwise.js';
import * as reduce from './reduce.js';
import * as scan from './scan.js';
import type { Operand } from './elementwise.js';
import type { Axes, ReduceOptions, VarianceOptions } from './reduce.js';
import type { ArgOptions } from './scan.js';

declare module '../tensor.js' {
  interface Tensor {
    add(other: Operand): Tensor;
    sub(other: Operand): Tensor;
    mul(other: Operand): Tensor;
    div(other: Operand): Tensor;
    pow(exponent: Operand): Tensor;
    maximum(other: Operand): Tensor;
    minimum(other: Operand): Tensor;
    clamp(min?: number, max?: number): Tensor;
    neg(): Tensor;
    abs(): Tensor;
    square(): Tensor;
    sqrt(): Tensor;
    exp(): Tensor;
    log(): Tensor;
    tanh(): Tensor;
    sigmoid(): Tensor;
    eq(other: Operand): Tensor;
    ne(other: Operand): Tensor;
    lt(other: Operand): Tensor;
    le(other: Operand): Tensor;
    gt(other: Operand): Tensor;
    ge(other: Operand): Tensor;
    sum(axis?: Axes, options?: ReduceOptions): Tensor;
    mean(axis?: Axes, options?: ReduceOptions): Tensor;
    prod(axis?: Axes, options?: ReduceOptions): Tensor;
    max(axis?: Axes, options?: ReduceOptions): Tensor;
    min(axis?: Axes, options?: ReduceOptions): Tensor;
    variance(axis?: Axes, options?: VarianceOptions): Tensor;
    std(axis?: Axes, options?: VarianceOptions): Tensor;
    norm(axis?: Axes, options?: ReduceOptions): Tensor;
    argmax(axis?: number, options?: ArgOptions): Tensor;
    argmin(axis?: number, options?: ArgOptions): Tensor;
    cumsum(axis: number): Tensor;
    any(axis?: Axes, options?: ReduceOptions): Tensor;
    all(axis?: Axes, options?: ReduceOptions): Tensor;
  }
}

const { add, sub, mul, div, pow, maximum, minimum, clamp } = elementwise;
const { neg, abs, square, sqrt, exp, log, tanh, sigmoid, eq, ne, lt, le, gt, ge } = elementwise;
const { argmax, argmin, cumsum } = scan;
const { sum, mean, prod, max, min, variance, std, norm, any, all } = reduce;

type Method = (x: Tensor, ...args: never[]) => Tensor;
const methods: Record<string, Method> = {
  ...{ add, sub, mul, div, pow, maximum, minimum, clamp },
  ...{ neg, abs, square, sqrt, exp, log, tanh, sigmoid, eq, ne, lt, le, gt, ge },
  ...{ sum, mean, prod, max, min, variance, std, norm, any, all },
  ...{ argmax, argmin, cumsum },
};
for (const [name, method] of Object.entries(methods))
  Object.defineProperty(Tensor.prototype, name, {
    value: function (this: Tensor, ...args: never[]): Tensor {
      return method(this, ...args);
    },
    writable: true,
    configurable: true,
  });
