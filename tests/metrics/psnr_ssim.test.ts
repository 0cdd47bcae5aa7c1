import { describe, expect, test } from 'vitest';
import {
  autocast,
  concat,
  defaultDevice,
  full,
  noise,
  psnr,
  ShapeError,
  ssim,
  tensor,
  type SsimConvention,
  type Tensor,
} from '../../lib/index.js';

const picture = (seed: number, H = 24, W = 20, C = 3): Tensor =>
  noise([1, H, W, C], { seed }).mul(0.4).clamp(-1, 1);
const noisy = (x: Tensor, amount: number): Tensor =>
  x.add(noise(x.shape, { seed: 77 }).mul(amount));
const conventions: SsimConvention[] = ['gaussian', 'uniform', 'reflected'];

describe('psnr', () => {
  test('is 20 log10(range / error) for a constant error', async () => {
    const black = full([1, 4, 4, 1], -1);
    expect(await psnr(black, full([1, 4, 4, 1], 1)).item()).toBeCloseTo(0, 5);
    expect(await psnr(black, full([1, 4, 4, 1], -0.8)).item()).toBeCloseTo(20, 5);
    const bytes = [full([1, 2, 2, 3], 0), full([1, 2, 2, 3], 1)];
    const peak = 20 * Math.log10(255);
    expect(await psnr(bytes[0], bytes[1], { range: [0, 255] }).item()).toBeCloseTo(peak, 4);
  });

  test('of equal pictures is Infinity, and pictures of a batch do not mix', async () => {
    const [a, b] = [picture(1), picture(2)];
    const values = await psnr(concat([a, a]), concat([a, b])).data();
    expect(values[0]).toBe(Infinity);
    expect(values[1]).toBe(await psnr(a, b).item());
  });

  test('takes bytes', async () => {
    const bytes = (value: number) =>
      tensor(new Uint8Array(12).fill(value), { shape: [1, 2, 2, 3] });
    const value = await psnr(bytes(250), bytes(255), { range: [0, 255] }).item();
    expect(value).toBeCloseTo(20 * Math.log10(255 / 5), 4);
  });
});

describe.each(conventions)('ssim, %s', (convention) => {
  test('is 1 for equal pictures, symmetric, and falls with noise', async () => {
    const x = picture(1);
    expect(await ssim(x, x, { convention }).item()).toBeCloseTo(1, 6);
    const [little, much] = [noisy(x, 0.05), noisy(x, 0.3)];
    const near = await ssim(x, little, { convention }).item();
    const far = await ssim(x, much, { convention }).item();
    expect(near).toBeLessThan(1);
    expect(far).toBeLessThan(near);
    expect(await ssim(little, x, { convention }).item()).toBeCloseTo(near, 6);
  });

  test('does not depend on the unit or on the neighbours in the batch', async () => {
    const [x, y] = [picture(1), picture(2)];
    const alone = await ssim(x, y, { convention }).item();
    const bytes = (z: Tensor) => z.add(1).mul(127.5);
    const scaled = ssim(bytes(x), bytes(y), { convention, range: [0, 255] });
    expect(await scaled.item()).toBeCloseTo(alone, 5);
    const batch = await ssim(concat([x, x]), concat([x, y]), { convention }).data();
    expect(batch[1]).toBeCloseTo(alone, 6);
  });

  test('says how small a picture may be', async () => {
    const least = { gaussian: 11, uniform: 7, reflected: 6 }[convention];
    const [x, y] = [picture(1, least, 30), picture(2, least, 30)];
    expect(await ssim(x, y, { convention }).item()).toBeLessThan(1);
    const small = picture(1, 30, least - 1);
    expect(() => ssim(small, small, { convention })).toThrow(
      `at least ${least} x ${least}. Got 30 x ${least - 1}`,
    );
  });
});

test('a picture of several strips is the mean of its windows', async () => {
  // 1200 x 400 x 3 are more values than are compared at once: the same picture in bands that fit
  const [x, y] = [picture(1, 1200, 400), picture(2, 1200, 400)];
  let sum = 0;
  for (let top = 0; top < 1190; top += 238) {
    const band = (z: Tensor) => z.narrow(1, top, 238 + 10); // 238 windows
    sum += await ssim(band(x), band(y)).item();
  }
  expect(await ssim(x, y).item()).toBeCloseTo(sum / 5, 6);
});

test('results have the dtype of the pictures, and autocast does not blunt them', async () => {
  const [x, y] = [picture(1), noisy(picture(1), 0.1)];
  const exact = await ssim(x, y).item();
  expect(ssim(x, y).dtype).toBe('float32');
  await autocast('bfloat16', async () => {
    expect(await ssim(x, y).item()).toBe(exact);
  });
  if (defaultDevice().name !== 'cpu') return;
  const wide = ssim(x.to('float64'), y.to('float64'));
  expect(wide.dtype).toBe('float64');
  expect(await wide.item()).toBeCloseTo(exact, 6);
});

test('what does not fit is refused by name', () => {
  const x = picture(1);
  expect(() => psnr(x, picture(1, 23))).toThrow(ShapeError);
  expect(() => ssim(x, x.reshape([24, 20, 3]))).toThrow(/ssim: expected two batches/);
  expect(() => psnr(x, x, { range: [1, 1] })).toThrow(/range is \[black, white\].*Got \[1, 1\]/);
  expect(() => ssim(x, x, { convention: 'other' as SsimConvention })).toThrow(
    /unknown convention 'other'\. Known are gaussian, uniform, reflected/,
  );
});
