import { describe, expect, test } from 'vitest';
import {
  buildFirstStage,
  Conv2d,
  decodeTiled,
  defaultDevice,
  encodeTiled,
  full,
  isFinite,
  Module,
  noise as drawNoise,
  pad,
  pipe,
  slice,
  tidy,
  Tensor,
  upsampleNearest2x,
  type FirstStage,
  type FirstStageSpec,
  type NoiseOptions,
  type TilingOptions,
} from '../../../lib/index.js';
import { collectGarbage } from '../../support/collect_garbage.js';
import { expectClose } from '../../support/expect_close.js';

/** Convolutions alone, f = 4: what a value depends on ends within two latents. */
class ConvStage extends Module<[Tensor], Tensor> implements FirstStage {
  readonly spec: FirstStageSpec = { kind: 'identity' };
  readonly latentChannels = 2;
  readonly downsampling = 4;
  readonly conv_in = new Conv2d(3, 4, { kernelSize: 3, padding: 1 });
  readonly down = [0, 1].map(
    () =>
      new Conv2d(4, 4, {
        kernelSize: 3,
        stride: 2,
        padding: { top: 0, bottom: 1, left: 0, right: 1 },
      }),
  );
  readonly to_latent = new Conv2d(4, 2, { kernelSize: 3, padding: 1 });
  readonly from_latent = new Conv2d(2, 4, { kernelSize: 3, padding: 1 });
  readonly up = [0, 1].map(() => new Conv2d(4, 4, { kernelSize: 3, padding: 1 }));
  readonly conv_out = new Conv2d(4, 3, { kernelSize: 3, padding: 1 });

  encodeToLatents(images: Tensor, noise?: Tensor | NoiseOptions): Tensor {
    const mean = pipe(images, [
      (x) => this.conv_in.forward(x),
      ...this.down.map((conv) => (x: Tensor) => conv.forward(x)),
      (x) => this.to_latent.forward(x),
    ]);
    if (!noise) return mean;
    const eps = noise instanceof Tensor ? noise : drawNoise(mean.shape, noise);
    return mean.add(mean.square().add(0.1).mul(eps));
  }

  decodeLatents(latents: Tensor): Tensor {
    return pipe(latents, [
      (z) => this.from_latent.forward(z),
      ...this.up.map((conv) => (z: Tensor) => conv.forward(upsampleNearest2x(z))),
      (z) => this.conv_out.forward(z),
    ]);
  }

  forward(images: Tensor): Tensor {
    return this.decodeLatents(this.encodeToLatents(images));
  }
}

const picture = (H: number, W: number, C = 3, N = 1): Tensor =>
  drawNoise([N, H, W, C], { seed: 5 }).clamp(-1, 1);
const identity = buildFirstStage({ kind: 'identity' });

async function expectSame(actual: Tensor, expected: Tensor, slack = 1): Promise<void> {
  expect(actual.shape).toEqual(expected.shape);
  expectClose(await actual.data(), await expected.data(), {
    dtype: 'float32',
    tolerance: 'matmul',
    reduction: 36,
    slack,
    shape: actual.shape,
  });
}

describe('tiles whose overlap is twice what a value depends on', () => {
  const stage = new ConvStage();
  const tilings: TilingOptions[] = [
    { tile: 16, overlap: 8 },
    { tile: 19, overlap: 8, batch: 3 },
  ];

  test.each(tilings)('decode as the whole: %j', async (tiling) => {
    const latents = drawNoise([2, 41, 23, 2], { seed: 1 });
    await expectSame(await decodeTiled(stage, latents, tiling), stage.decodeLatents(latents));
  });

  test.each(tilings)('encode as the whole: %j', async (tiling) => {
    const images = picture(100, 164, 3, 2);
    await expectSame(await encodeTiled(stage, images, tiling), stage.encodeToLatents(images));
  });

  test.each(tilings)('sample with the noise of the whole: %j', async (tiling) => {
    const images = picture(100, 164);
    const noise = { seed: 3, stream: 1 };
    const whole = stage.encodeToLatents(images, noise);
    await expectSame(await encodeTiled(stage, images, { ...tiling, noise }), whole);
    const eps = drawNoise(whole.shape, noise);
    await expectSame(await encodeTiled(stage, images, { ...tiling, noise: eps }), whole);
  });
});

test('a smaller overlap blends: the seams differ a little, the middle of the tiles not at all', async () => {
  const stage = new ConvStage();
  const latents = drawNoise([1, 24, 24, 2], { seed: 1 });
  const [tiled, whole] = [
    await decodeTiled(stage, latents, { tile: 16, overlap: 4 }),
    stage.decodeLatents(latents),
  ];
  const corner = [null, [0, 24], [0, 24], null] as const; // the second tile begins at 32, sees from 28
  await expectSame(slice(tiled, corner), slice(whole, corner));
  const error = await tiled.sub(whole).abs().max().item();
  expect(error).toBeGreaterThan(1e-4);
  expect(error).toBeLessThan(await whole.abs().max().item());
});

describe('the weights of tiles sum to one', () => {
  const tilings = [
    { tile: 4, overlap: 2 },
    { tile: 5, overlap: 1 },
    { tile: 7, overlap: 0 },
    { tile: 1, overlap: 0 },
    { tile: 8, overlap: 4, batch: 5 },
  ];

  test.each(tilings)('a picture comes back as it was: %j', async (tiling) => {
    for (const [H, W] of [
      [1, 1],
      [4, 9],
      [5, 8],
      [13, 31],
    ]) {
      const images = picture(H, W, 3, 2);
      await expectSame(await encodeTiled(identity, images, tiling), images);
      await expectSame(await decodeTiled(identity, images, tiling), images);
    }
  });

  test('a constant stays constant', async () => {
    const flat = full([1, 50, 70, 3], 0.7);
    await expectSame(await decodeTiled(identity, flat, { tile: 16, overlap: 6 }), flat);
  });
});

describe('sides that are no multiple of f', () => {
  const stage = new ConvStage();

  test('are reflected at the bottom and at the right, and cut off again', async () => {
    const images = picture(13, 18);
    const padded = pad(
      images,
      [
        [0, 0],
        [0, 3],
        [0, 2],
        [0, 0],
      ],
      { mode: 'reflect' },
    );
    const latents = await encodeTiled(stage, images);
    expect(await latents.data()).toEqual(await stage.encodeToLatents(padded).data());
    const back = await decodeTiled(stage, latents, { size: [13, 18] });
    const whole = slice(stage.decodeLatents(latents), [null, [0, 13], [0, 18], null]);
    expect(back.shape).toEqual([1, 13, 18, 3]);
    expect(await back.data()).toEqual(await whole.data());
  });

  test('a picture too small to be reflected repeats its last pixels', async () => {
    const latents = await encodeTiled(stage, full([1, 1, 2, 3], 0.5));
    const whole = stage.encodeToLatents(full([1, 4, 4, 3], 0.5));
    expect(await latents.data()).toEqual(await whole.data());
  });
});

describe('one tile is the whole, bit for bit', () => {
  const ddconfig = {
    ch: 32,
    outCh: 3,
    chMult: [1, 2],
    numResBlocks: 1,
    attnResolutions: [16],
    inChannels: 3,
    resolution: 32,
    zChannels: 3,
  };
  const specs: FirstStageSpec[] = [
    { kind: 'kl', ddconfig, embedDim: 3 },
    { kind: 'vq', ddconfig: { ...ddconfig, doubleZ: false }, embedDim: 3, nEmbed: 16 },
    { kind: 'vq-interface', ddconfig: { ...ddconfig, doubleZ: false }, embedDim: 3, nEmbed: 16 },
    { kind: 'identity' },
  ];

  test.each(specs)('$kind', async (spec) => {
    const model = buildFirstStage(spec).eval() as FirstStage;
    const images = picture(24, 20);
    const noise = { seed: 9 };
    const latents = await encodeTiled(model, images, { noise });
    const whole = model.encodeToLatents(images, noise);
    expect(await latents.data()).toEqual(await whole.data());
    const mode = await encodeTiled(model, images);
    expect(await mode.data()).toEqual(await model.encodeToLatents(images).data());
    const decoded = await decodeTiled(model, latents, { tile: 12 });
    expect(await decoded.data()).toEqual(await model.decodeLatents(latents).data());
    expect(decoded.requiresGrad).toBe(false);
  });

  test('more tiles than one keep to the shape', async () => {
    for (const spec of specs) {
      const model = buildFirstStage(spec);
      const latents = await encodeTiled(model, picture(41, 30), { tile: 8, noise: { seed: 1 } });
      const decoded = await decodeTiled(model, latents, { tile: 8, size: [41, 30] });
      expect(decoded.shape).toEqual([1, 41, 30, 3]);
      expect(await isFinite(decoded).all().item()).toBe(1);
    }
  });
});

describe('memory does not grow with the number of tiles, and nothing is left behind', () => {
  const device = defaultDevice();
  const stage = new ConvStage();
  type Pass = [whole: Tensor, run: (x: Tensor) => Promise<Tensor>];
  const ways: Record<string, (side: number, tiling: TilingOptions) => Pass> = {
    decodeTiled: (side, tiling) => [
      drawNoise([1, side, side, 2], { seed: 1 }),
      (latents) => decodeTiled(stage, latents, tiling),
    ],
    encodeTiled: (side, tiling) => [
      picture(4 * side, 4 * side),
      (images) => encodeTiled(stage, images, tiling),
    ],
  };

  test.each(Object.keys(ways))('%s', async (name) => {
    const peakOfTiles = (side: number) =>
      tidy(async () => {
        let peak = 0;
        const onProgress = () => (peak = device.memoryStats().peakBytes - liveBytes);
        const [whole, run] = ways[name](side, { tile: 16, overlap: 4, onProgress });
        await device.synchronize();
        await collectGarbage();
        device.resetPeak();
        const { tensors, liveBytes } = device.memoryStats();
        await run(whole);
        expect(device.memoryStats().tensors).toBe(tensors + 1); // the result
        return peak;
      });
    const four = await peakOfTiles(28);
    expect(four).toBeGreaterThan(0);
    expect(await peakOfTiles(52)).toBe(four);
  });
});

test('says how far it is, and stops when told to', async () => {
  const steps: [number, number][] = [];
  const latents = picture(10, 10);
  const tiling = { tile: 4, overlap: 0, batch: 2 };
  const onProgress = (done: number, total: number) => steps.push([done, total]);
  await decodeTiled(identity, latents, { ...tiling, onProgress });
  expect(steps.map(([done]) => done)).toEqual([2, 4, 6, 8, 9]);
  expect(new Set(steps.map(([, total]) => total))).toEqual(new Set([9]));

  const controller = new AbortController();
  const stop = (done: number) => {
    if (done === 4) controller.abort(new Error('enough'));
  };
  const stopped = decodeTiled(identity, latents, {
    ...tiling,
    signal: controller.signal,
    onProgress: stop,
  });
  await expect(stopped).rejects.toThrow('enough');
});

test('options and shapes that do not fit are refused by name', async () => {
  const stage = new ConvStage();
  const images = picture(16, 16);
  const latents = picture(4, 4, 2);
  await expect(encodeTiled(stage, images, { tile: 0 })).rejects.toThrow(/tile is a number.*Got 0/);
  await expect(encodeTiled(stage, images, { tile: 8, overlap: 5 })).rejects.toThrow(
    /overlap .* half a tile of 8\. Got 5/,
  );
  await expect(decodeTiled(stage, latents, { batch: 0.5 })).rejects.toThrow(/batch .* Got 0.5/);
  await expect(decodeTiled(stage, latents, { size: [17, 16] })).rejects.toThrow(
    /latents of 4 x 4 are images .* Got size 17 x 16/,
  );
  await expect(decodeTiled(stage, latents, { size: [15.5, 16] })).rejects.toThrow(/size 15\.5 x/);
  await expect(encodeTiled(stage, images, { noise: picture(3, 4, 2) })).rejects.toThrow(
    /noise must have the latents' shape \[1, 4, 4, 2\]\. Got \[1, 3, 4, 2\]/,
  );
  await expect(encodeTiled(stage, full([16, 16, 3], 0))).rejects.toThrow(/expected \[N, H, W, C\]/);
});
