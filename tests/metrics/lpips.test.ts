import { describe, expect, test } from 'vitest';
import {
  FileError,
  Generator,
  loadLpips,
  Lpips,
  ones,
  permute,
  ShapeError,
  sum,
  zeros,
  type Tensor,
} from '../../lib/index.js';
import { writeSafetensors } from '../../lib/io/safetensors.js';
import type { TensorSource } from '../../lib/io/state.js';
import { golden, temporaryFolder } from '../io/temporary.js';
import { expectClose } from '../support/expect_close.js';
import { asPublished, goldenLpips, narrowLpips, widths } from './narrow_lpips.js';

const random = (seed: number, side = 16) => new Generator(seed).normal([2, side, side, 3]);
const values = (x: Tensor) => Array.from(x.dataSync(), Number);

describe('Lpips', () => {
  test('has the size of the published network, and its keys', () => {
    const lpips = new Lpips();
    expect(lpips.parameterCount()).toBe(14_716_160);
    const state = lpips.exportState();
    expect(state.size).toBe(2 + 26 + 5);
    const shape = (key: string) => state.get(key)?.shape;
    expect(shape('scaling_layer.shift')).toEqual([1, 3, 1, 1]);
    expect(shape('net.slice1.0.weight')).toEqual([64, 3, 3, 3]);
    expect(shape('net.slice3.14.bias')).toEqual([256]);
    expect(shape('net.slice5.28.weight')).toEqual([512, 512, 3, 3]);
    expect(shape('lin4.model.1.weight')).toEqual([1, 512, 1, 1]);
    lpips.dispose();
  });

  test('gives nothing to train, also after train()', () => {
    const lpips = new Lpips({ widths }).train();
    expect(lpips.parameters().filter((p) => p.requiresGrad)).toEqual([]);
  });

  test('is 0 for equal images, and symmetric', async () => {
    const lpips = await narrowLpips();
    const [x, y] = [random(1), random(2)];
    expect(values(lpips.forward(x, x))).toEqual([0, 0]);
    const there = values(lpips.forward(x, y));
    expect(Math.min(...there)).toBeGreaterThan(0.01);
    expect(values(lpips.forward(y, x))).toEqual(there);
  });

  test('says the same whichever image needs a gradient', async () => {
    const lpips = await narrowLpips();
    const run = (ofX: boolean, ofY: boolean) => {
      const [x, y] = [random(1), random(2)];
      [x.requiresGrad, y.requiresGrad] = [ofX, ofY];
      const distance = lpips.forward(x, y);
      if (ofX || ofY) sum(distance).backward();
      return {
        distance: values(distance),
        dx: x.grad && values(x.grad),
        dy: y.grad && values(y.grad),
      };
    };
    const both = run(true, true);
    const [none, first, second] = [run(false, false), run(true, false), run(false, true)];
    for (const one of [none, first, second])
      expectClose(one.distance, both.distance, { dtype: 'float32', tolerance: 'matmul' });
    const gradient = { dtype: 'float32', tolerance: 'matmul', reduction: 512, slack: 8 } as const;
    expectClose(first.dx!, both.dx!, gradient);
    expectClose(second.dy!, both.dy!, gradient);
    expect([none.dx, first.dy, second.dx]).toEqual([null, null, null]);
  });

  test('has finite gradients where every feature is 0', async () => {
    const lpips = await narrowLpips();
    lpips.loadStateDict({ 'net.slice1.2.bias': ones([4]).mul(-1e6) }, { strict: false });
    const y = random(2);
    y.requiresGrad = true;
    const distance = sum(lpips.forward(zeros([2, 16, 16, 3]), y));
    distance.backward();
    expect(values(y.grad!).every(Number.isFinite)).toBe(true);
  });

  test('drops features in training only, and only when asked to', async () => {
    const [x, y] = [random(1), random(2)];
    const plain = values((await narrowLpips()).train().forward(x, y));
    const dropping = await narrowLpips({ dropout: true });
    expect(values(dropping.eval().forward(x, y))).toEqual(plain);
    dropping.train();
    const runs = Array.from({ length: 40 }, () => values(dropping.forward(x, y))[0]);
    expect(new Set(runs).size).toBe(40);
    const mean = runs.reduce((a, b) => a + b, 0) / runs.length;
    expect(Math.abs(mean / plain[0] - 1)).toBeLessThan(0.1);
  });

  test('refuses what it cannot compare', () => {
    const lpips = new Lpips({ widths });
    expect(() => lpips.forward(random(1), random(1, 20))).toThrow(
      /one shape \[N, H, W, 3\], got \[2, 16, 16, 3\] and \[2, 20, 20, 3\]/,
    );
    const grey = zeros([1, 16, 16, 1]);
    expect(() => lpips.forward(grey, grey)).toThrow(ShapeError);
    expect(() => lpips.forward(random(1, 15), random(1, 15))).toThrow(/at least 16×16.*enlarge/);
  });
});

describe('loadLpips', () => {
  const inFolder = temporaryFolder();

  // The golden weights as the two published files hold them, and a classifier that nobody wants.
  async function publishedFiles(change: (entries: Map<string, Tensor | TensorSource>) => void) {
    const file = await goldenLpips();
    const weights: [string, Tensor | TensorSource][] = [];
    for (const key of file.keys) weights.push([key.replace(/^param\./, ''), await file.get(key)]);
    const { vgg, heads } = asPublished(weights);
    vgg.set('classifier.0.weight', zeros([4, 4]));
    change(vgg);
    const paths = { vgg: inFolder('vgg16.safetensors'), heads: inFolder('heads.safetensors') };
    await writeSafetensors(paths.vgg, vgg);
    await writeSafetensors(paths.heads, heads);
    return paths;
  }

  test('reads the published files: the distance is the original program’s', async () => {
    const lpips = await loadLpips(await publishedFiles(() => {}), { widths });
    const file = await goldenLpips();
    const image = async (name: string) => permute(await file.get(name), [0, 2, 3, 1]);
    const distance = lpips.forward(await image('in.x0'), await image('in.x1'));
    const expected = (await file.get('out.d')).dataSync() as Float32Array;
    expectClose(values(distance), expected, { dtype: 'float32', tolerance: 'matmul', slack: 8 });
    expect(lpips.training).toBe(false);
  });

  test('says which files are missing, and where they are found', async () => {
    const vgg = inFolder('nowhere/vgg16.pth');
    const heads = inFolder('nowhere/vgg.pth');
    const error: unknown = await loadLpips({ vgg, heads }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(FileError);
    const { message } = error as FileError;
    for (const part of [vgg, heads, 'vgg16-397923af.pth', 'download.pytorch.org', 'v0.1/vgg.pth'])
      expect(message).toContain(part);
    const present = await publishedFiles(() => {});
    await expect(loadLpips({ ...present, heads })).rejects.toMatchObject({ path: heads });
  });

  test('lists missing and misshapen keys, by the names in the file', async () => {
    const paths = await publishedFiles((vgg) => {
      vgg.delete('features.7.bias');
      vgg.set('features.0.weight', zeros([4, 3, 5, 5]));
    });
    const loading = loadLpips(paths, { widths });
    await expect(loading).rejects.toThrow(
      /features\.0\.weight is \[4, 3, 5, 5\], expected \[4, 3, 3, 3\]; features\.7\.bias is missing/,
    );
    await expect(loading).rejects.toBeInstanceOf(FileError);
    const wide = {
      ...(await publishedFiles(() => {})),
      heads: golden('checkpoints/lpips_lin_legacy.pth'),
    };
    await expect(loadLpips(wide, { widths })).rejects.toThrow(
      /lin0\.model\.1\.weight is \[1, 64, 1, 1\], expected \[1, 4, 1, 1\]/,
    );
    const swapped = { vgg: paths.heads, heads: paths.vgg };
    await expect(loadLpips(swapped, { widths })).rejects.toThrow(
      /does not hold torchvision's VGG16/,
    );
  });
});
