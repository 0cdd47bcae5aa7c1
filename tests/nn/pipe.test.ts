// Layers in a row give up what only they needed.
import { describe, expect, it } from 'vitest';
import {
  AutoencoderKL,
  defaultDevice,
  noGrad,
  noise,
  ones,
  pipe,
  tidy,
  type Tensor,
} from '../../lib/index.js';

const device = defaultDevice();
const live = (): number => device.memoryStats().liveBytes;
const megabyte = 2 ** 20;
const double = (x: Tensor): Tensor => x.add(x.mul(0)).add(x);

describe('pipe', () => {
  it('applies layers in order and leaves its argument alone', () =>
    tidy(async () => {
      const x = ones([3]);
      const y = noGrad(() => pipe(x, [double, (h) => h.add(1), (h) => h, double]));
      expect([...((await y.data()) as Float32Array)]).toEqual([6, 6, 6]);
      expect(await x.sum().item()).toBe(3);
      expect(noGrad(() => pipe(x, []))).toBe(x);
      expect(noGrad(() => pipe(x, [(h) => h]))).toBe(x);
    }));

  it('leaves alone what a layer hands out without making it', () => {
    const own = ones([3]);
    const y = pipe(ones([3]), [double, () => own, (h) => h, double]);
    expect([...(y.dataSync() as Float32Array)]).toEqual([2, 2, 2]);
    expect(own.disposed).toBe(false);
  });

  it('keeps the result alone, and no more than one layer needs on the way', () =>
    tidy(() => {
      const x = ones([megabyte / 4]);
      const before = live();
      device.resetPeak();
      noGrad(() => pipe(x, [double, double, double, double]));
      expect(live() - before).toBe(megabyte);
      // a layer's argument, its two temporaries and its result
      expect(device.memoryStats().peakBytes - before).toBeLessThanOrEqual(4 * megabyte);
    }));

  it('keeps of recorded layers what backward needs, until it has been there', () =>
    tidy(() => {
      const x = ones([megabyte / 4], { requiresGrad: true });
      const before = live();
      const more = (h: Tensor): Tensor => h.add(h); // whose gradient needs nothing of its argument
      const sums = pipe(x, [more, more, more]);
      expect(live() - before).toBe(megabyte);
      const squares = pipe(sums, [(h) => h.square(), (h) => h.square()]);
      expect(live() - before).toBe(3 * megabyte); // both arguments, and the result
      const total = squares.sum();
      squares.dispose();
      sums.dispose();
      device.resetPeak();
      total.backward();
      // what squares have saved goes as gradients come
      expect(device.memoryStats().peakBytes - before).toBeLessThanOrEqual(4.1 * megabyte);
      expect(live() - before).toBeLessThan(1.1 * megabyte);
      x.grad!.dispose();
    }));

  it('records as if the layers had been called', () =>
    tidy(async () => {
      const x = ones([2], { requiresGrad: true });
      pipe(x, [double, (h) => h.square()])
        .sum()
        .backward();
      expect([...((await x.grad!.data()) as Float32Array)]).toEqual([8, 8]);
    }));
});

it('decoding needs the memory of a few of its largest maps', () =>
  tidy(() => {
    const model = new AutoencoderKL({
      embedDim: 4,
      ddconfig: {
        ch: 32,
        chMult: [1, 1, 2],
        numResBlocks: 2,
        inChannels: 3,
        outCh: 3,
        zChannels: 4,
        resolution: 64,
      },
    });
    const latent = noise([4, 32, 32, 4], { seed: 1 });
    const before = live();
    device.resetPeak();
    const picture = noGrad(() => model.decode(latent));
    expect(picture.shape).toEqual([4, 128, 128, 3]);
    const largest = 4 * 128 * 128 * 32 * 4;
    expect(device.memoryStats().peakBytes - before).toBeLessThan(5.5 * largest);
  }));
