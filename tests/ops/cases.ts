// What a file of this folder says about an op: data only. tests/ops.test.ts runs every case on every
// device and dtype (forward against the oracle, gradients, errors); bench/ops.ts times those marked `bench`.
import type { Device, DType, Tensor } from '../../lib/index.js';
import type { Tolerance } from '../support/expect_close.js';
import type { NdArray } from '../support/oracle.js';

export interface InputSpec {
  shape: readonly number[];
  /**
   * Default: the floating dtype under test. An integer dtype is kept in every run; a floating one is kept
   * except in the float64 runs, where all floating inputs are float64.
   */
  dtype?: DType;
  /** normal (default for floats): mean 0, deviation 1; uniform: in [low, high); positive: |normal| + 0.1. */
  values?: 'normal' | 'uniform' | 'positive' | readonly number[];
  /** Bounds of uniform values; integers are drawn from low..high-1 (default 0..9; bool 0..1). */
  low?: number;
  high?: number;
  /** Default true for floating inputs: false leaves the input out of the gradient checks. */
  grad?: boolean;
}

export type InputTensors = Record<string, Tensor>;
export type InputArrays = Record<string, NdArray>;
export type Expected = readonly number[] | NdArray;

export interface OpCase {
  name: string;
  /** A bare shape is a normal random float input of that shape. */
  inputs: Record<string, readonly number[] | InputSpec>;
  run: (inputs: InputTensors, on: { dtype: DType; device: Device }) => Tensor | Tensor[];
  /** Float64 arithmetic in plain TypeScript. Without it the engine's float64 run is the oracle. */
  reference?: (inputs: InputArrays) => Expected | NdArray[];
  /** For results that no formula gives (random numbers): throws when a property does not hold. */
  verify?: (outputs: NdArray[], inputs: InputArrays) => void;
  /** The row of the tolerance table. Default elementwise. */
  tolerance?: Tolerance;
  /** Length of the longest sum behind an output element; loosens the tolerance. Default 1. */
  reduction?: number;
  /** Default true when there is a floating input and output. */
  grad?: boolean;
  /** Default: the op's. */
  dtypes?: readonly DType[];
  /** true: timed by bench/ops.ts too. 'only': timed, and too large to be a test. */
  bench?: boolean | 'only';
  /** Runs on real devices, but takes too long where a GPU is emulated. */
  large?: boolean;
  /** Floating-point operations and bytes moved of one forward run, for the bench table. */
  flops?: number;
  bytes?: number;
}

export interface ErrorCase {
  name: string;
  /** Throws at the call, or returns tensors whose reading throws (a fault found while running). */
  run: () => unknown;
  message: RegExp;
  /** Default EmulsionError. */
  error?: new (...args: never[]) => Error;
}

export interface OpCases {
  /** The exported function's name. */
  op: string;
  /** Floating dtypes that the op supports. Default float32, float64, bfloat16, float16. */
  dtypes?: readonly DType[];
  cases: readonly OpCase[];
  errors?: readonly ErrorCase[];
}

/** A file's default export: one op's cases, or a list of them for a family of small ops. */
export type CaseFile = OpCases | readonly OpCases[];
