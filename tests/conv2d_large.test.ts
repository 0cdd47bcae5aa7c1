import { describe, expect, test } from 'vitest';
import { concat, conv2d, grad, noise, tidy, type Tensor } from '../lib/index.js';

// Results of 16 MiB and more reach memory another way than small ones do, and must hold the same numbers.
const N = 4;
const side = 128;

/** The greatest difference, relative to the greatest value. */
function distance(a: Tensor, b: Tensor): number {
  const [x, y] = [a.dataSync(), b.dataSync()];
  let [difference, scale] = [0, 0];
  for (let i = 0; i < x.length; ++i) {
    difference = Math.max(difference, Math.abs(Number(x[i]) - Number(y[i])));
    scale = Math.max(scale, Math.abs(Number(y[i])));
  }
  expect(scale).toBeGreaterThan(0);
  return difference / scale;
}

describe('a convolution whose result is large', () => {
  const cases = [
    { name: 'from a picture', C: 3, K: 80, r: 3 },
    { name: 'by larger tiles', C: 32, K: 80, r: 3 },
    { name: 'of single pixels', C: 16, K: 80, r: 1 },
    { name: 'of an odd number of channels', C: 5, K: 77, r: 3 },
  ];
  test.each(cases)('$name: the batch is what its images are', ({ C, K, r }) => {
    tidy(() => {
      const weight = noise([K, r, r, C], { seed: 1 });
      const bias = noise([K], { seed: 2 });
      const x = noise([N, side, side, C], { seed: 3 });
      // Without an activation the kernels store the result themselves.
      for (const activation of ['silu', undefined] as const) {
        const run = (x: Tensor): Tensor => conv2d(x, weight, bias, { padding: r >> 1, activation });
        const images = Array.from({ length: N }, (_, n) => run(x.narrow(0, n, 1)));
        expect(distance(run(x), concat(images, 0))).toBeLessThan(1e-5);
      }
    });
  });

  // Channels are the rows of the product there, and its tiles begin anywhere in a line.
  test('of few pixels and very many channels, it is what its halves are', () => {
    tidy(() => {
      const x = noise([1, 8, 16, 4], { seed: 1 });
      const weight = noise([32768, 1, 1, 4], { seed: 2 });
      const halves = [0, 16384].map((from) => conv2d(x, weight.narrow(0, from, 16384)));
      expect(distance(conv2d(x, weight), concat(halves, 3))).toBeLessThan(1e-5);
    });
  });

  test.each(cases)('$name: so is the gradient of a large input', ({ C, K, r }) => {
    tidy(() => {
      const weight = noise([C, r, r, K], { seed: 1 });
      const x = noise([N, side, side, K], { seed: 3 });
      const dy = noise([N, side, side, C], { seed: 4 });
      const run = (x: Tensor, dy: Tensor): Tensor => {
        x.requiresGrad = true;
        return grad(conv2d(x, weight, null, { padding: r >> 1 }), [x], { gradOutput: dy })[0];
      };
      const part = (t: Tensor, n: number): Tensor => t.narrow(0, n, 1).detach();
      const images = Array.from({ length: N }, (_, n) => run(part(x, n), part(dy, n)));
      expect(distance(run(x, dy), concat(images, 0))).toBeLessThan(1e-5);
    });
  });
});

// What is multiplied many times is packed first, and gradients of 8 MiB and more go past the caches.
describe('the gradient of many filters', () => {
  const cases = [
    { name: 'of few pixels', size: [5, 7], C: 464, K: 173 },
    { name: 'of few pixels, beyond the caches', size: [5, 7], C: 1360, K: 173 },
    { name: 'of two blocks of pixels', size: [11, 13], C: 464, K: 173 },
    { name: 'by small tiles', size: [30, 31], C: 272, K: 173 },
    { name: 'by larger tiles', size: [58, 57], C: 272, K: 173 },
  ];
  test.each(cases)('$name: it is that of float64', ({ size, C, K }) => {
    tidy(() => {
      const [gradient, exact] = (['float32', 'float64'] as const).map((dtype) => {
        const x = noise([1, ...size, C], { seed: 1 }).to(dtype);
        const dy = noise([1, ...size, K], { seed: 2 }).to(dtype);
        const weight = noise([K, 3, 3, C], { seed: 3 }).to(dtype).detach();
        weight.requiresGrad = true;
        return grad(conv2d(x, weight, null, { padding: 1 }), [weight], { gradOutput: dy })[0];
      });
      expect(distance(gradient, exact)).toBeLessThan(1e-6);
    });
  });
});
