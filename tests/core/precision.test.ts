import { afterEach, describe, expect, test } from 'vitest';
import {
  device,
  devices,
  getFloat32MatmulPrecision,
  linear,
  matmul,
  randn,
  setFloat32MatmulPrecision,
  type Float32MatmulPrecision,
  type Tensor,
} from '../../lib/index.js';

const gpu = devices().find(({ name }) => name === 'emulated' || name.startsWith('cuda'));

afterEach(() => setFloat32MatmulPrecision('highest'));

/** ‖actual - expected‖ / ‖expected‖ */
function distance(actual: Tensor, expected: Tensor): number {
  const [a, e] = [actual.dataSync(), expected.dataSync()] as Float32Array[];
  let off = 0;
  let size = 0;
  e.forEach((value, i) => {
    off += (a[i] - value) ** 2;
    size += value ** 2;
  });
  return Math.sqrt(off / size);
}

describe('float32 products', () => {
  test('are exact unless told otherwise', () => {
    expect(getFloat32MatmulPrecision()).toBe('highest');
  });

  test('remember what they were told', () => {
    setFloat32MatmulPrecision('high');
    expect(getFloat32MatmulPrecision()).toBe('high');
    setFloat32MatmulPrecision('highest');
    expect(getFloat32MatmulPrecision()).toBe('highest');
  });

  test.each([['medium'], [undefined], [true]])('refuse the precision %s', (precision) => {
    expect(() => setFloat32MatmulPrecision(precision as Float32MatmulPrecision)).toThrow(
      /setFloat32MatmulPrecision: expected 'highest' or 'high', got/,
    );
    expect(getFloat32MatmulPrecision()).toBe('highest');
  });

  test('stay exact on the CPU', () => {
    const a = randn([40, 64], { device: 'cpu' });
    const b = randn([64, 30], { device: 'cpu' });
    const exact = matmul(a, b);
    setFloat32MatmulPrecision('high');
    expect(matmul(a, b).dataSync()).toEqual(exact.dataSync());
  });
});

// Small and large tiles, every way round; 37 columns take a path that knows no TF32.
const shapes = [
  [24, 200, 40],
  [504, 72, 136],
] as const;

describe.skipIf(!gpu)('TF32 on a GPU or the emulated one', () => {
  for (const [rows, depth, columns] of shapes)
    for (const transposeA of [false, true])
      for (const transposeB of [false, true])
        test(`matmul ${rows}x${depth}x${columns}, ${transposeA}, ${transposeB}`, () => {
          const a = randn(transposeA ? [depth, rows] : [rows, depth], { device: 'cpu' });
          const b = randn(transposeB ? [columns, depth] : [depth, columns], { device: 'cpu' });
          const expected = matmul(a, b, { transposeA, transposeB });
          const there = () => matmul(a.to(gpu!), b.to(gpu!), { transposeA, transposeB }).to('cpu');
          expect(distance(there(), expected)).toBeLessThan(2e-6);
          setFloat32MatmulPrecision('high');
          const rounded = there();
          setFloat32MatmulPrecision('highest'); // the result is of the precision at its call
          // Ten bits of each operand: 2.9e-4 on the average.
          const off = distance(rounded, expected);
          expect(off).toBeGreaterThan(5e-5);
          expect(off).toBeLessThan(6e-4);
        });

  test('linear layers follow', () => {
    const x = randn([48, 64], { device: 'cpu' });
    const weight = randn([40, 64], { device: 'cpu' });
    const expected = linear(x, weight);
    setFloat32MatmulPrecision('high');
    const off = distance(linear(x.to(gpu!), weight.to(gpu!)).to(device('cpu')), expected);
    expect(off).toBeGreaterThan(5e-5);
    expect(off).toBeLessThan(6e-4);
  });

  test('depths that are no multiple of four stay exact', () => {
    const a = randn([24, 37], { device: 'cpu' });
    const b = randn([37, 20], { device: 'cpu' });
    setFloat32MatmulPrecision('high');
    expect(distance(matmul(a.to(gpu!), b.to(gpu!)).to('cpu'), matmul(a, b))).toBeLessThan(2e-6);
  });

  test('16-bit products do not change', () => {
    const a = randn([24, 64], { device: 'cpu', dtype: 'bfloat16' }).to(gpu!);
    const b = randn([64, 40], { device: 'cpu', dtype: 'bfloat16' }).to(gpu!);
    const before = matmul(a, b).dataSync();
    setFloat32MatmulPrecision('high');
    expect(matmul(a, b).dataSync()).toEqual(before);
  });
});
