// Test data that is the same on every machine and in every order of tests: seeded by name.
import type { DType } from '../../lib/index.js';
import type { InputSpec } from '../ops/cases.js';
import { nd, size, type NdArray } from './oracle.js';

/** A generator of uniform numbers in [0, 1) (mulberry32), seeded by a text (FNV-1a). */
export function uniformFrom(seed: string): () => number {
  let state = 0x811c9dc5;
  for (const character of seed) state = Math.imul(state ^ character.codePointAt(0)!, 0x01000193);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function normalFrom(seed: string): () => number {
  const uniform = uniformFrom(seed);
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

export function normals(count: number, seed: string): Float64Array {
  const normal = normalFrom(seed);
  return new Float64Array(count).map(() => normal());
}

/** The values that an input's description asks for, before rounding to its dtype. */
export function inputValues(spec: InputSpec, dtype: DType, seed: string): NdArray {
  const count = size(spec.shape);
  const { values = isInteger(dtype) ? 'uniform' : 'normal' } = spec;
  if (typeof values !== 'string') return nd(values, spec.shape);
  if (values === 'normal') return nd(normals(count, seed), spec.shape);
  if (values === 'positive')
    return nd(
      normals(count, seed).map((value) => Math.abs(value) + 0.1),
      spec.shape,
    );
  const uniform = uniformFrom(seed);
  const { low = 0, high = dtype === 'bool' ? 2 : isInteger(dtype) ? 10 : 1 } = spec;
  const draw = () => low + (high - low) * uniform();
  const whole = isInteger(dtype);
  return nd(
    new Float64Array(count).map(() => (whole ? Math.floor(draw()) : draw())),
    spec.shape,
  );
}

export function isInteger(dtype: DType): boolean {
  return ['int32', 'int64', 'uint8', 'bool'].includes(dtype);
}
