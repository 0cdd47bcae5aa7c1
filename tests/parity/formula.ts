// Values that both sides make from a name and an index, so that no file has to carry them.

/** 32-bit FNV-1a of the UTF-8 name. */
function fnv1a(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** u(name, i) in [-1, 1) for i < count, in float64. */
export function hashed(name: string, count: number): Float64Array {
  const values = new Float64Array(count);
  const offset = fnv1a(name);
  for (let i = 0; i < count; i++) {
    let x = (Math.imul(i, 0x9e3779b1) + offset) | 0;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    x ^= x >>> 16;
    values[i] = (x >>> 8) / 2 ** 23 - 1;
  }
  return values;
}

/** A parameter by its name and PyTorch shape: weights of unit gain, norms around 1, small biases. */
export function parameterValues(name: string, shape: readonly number[]): Float32Array {
  const count = shape.reduce((a, b) => a * b, 1);
  const u = hashed(name, count);
  const values = new Float32Array(count);
  if (shape.length >= 2) {
    const scale = Math.sqrt((3 * shape[0]) / count);
    for (let i = 0; i < count; i++) values[i] = u[i] * scale;
  } else if (name.endsWith('weight')) {
    for (let i = 0; i < count; i++) values[i] = 1 + 0.2 * u[i];
  } else {
    for (let i = 0; i < count; i++) values[i] = 0.1 * u[i];
  }
  return values;
}
