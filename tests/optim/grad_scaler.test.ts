import { describe, expect, test } from 'vitest';
import {
  AdamW,
  autocast,
  autoencoderConfig,
  AutoencoderKL,
  cast,
  clipGradNorm,
  clipScale,
  conv2d,
  defaultDevice,
  GradScaler,
  groupNorm,
  keep,
  linear,
  manualSeed,
  mseLoss,
  mul,
  ones,
  randn,
  SGD,
  silu,
  tensor,
  tidy,
  UNetModel,
  unetConfig,
  zeros,
  type DType,
  type Tensor,
} from '../../lib/index.js';
import { collectGarbage } from '../support/collect_garbage.js';

const numbers = (x: Tensor): number[] => Array.from(x.dataSync(), Number);
const leaf = (values: number[], dtype: DType = 'float32'): Tensor =>
  tensor(values, { dtype, requiresGrad: true });

describe('GradScaler', () => {
  test('what it scales it takes out again, with unscale and without', async () => {
    const x = tensor([3, 5]);
    for (const explicit of [false, true]) {
      const weight = leaf([1, 2]);
      const optimizer = new SGD([weight], { lr: 0.5 });
      const scaler = new GradScaler({ initScale: 1024 });
      const loss = scaler.scale(mul(weight, x).sum());
      expect(loss.itemSync()).toBe(13 * 1024);
      loss.backward();
      expect(numbers(weight.grad!)).toEqual([3 * 1024, 5 * 1024]);
      if (explicit) {
        scaler.unscale(optimizer);
        expect(numbers(weight.grad!)).toEqual([3, 5]);
      }
      expect(await scaler.step(optimizer)).toBe(true);
      expect(numbers(weight)).toEqual([-0.5, -0.5]);
      scaler.update();
    }
  });

  test('gradients are clipped between unscale and step', async () => {
    const weight = leaf([0, 0]);
    const optimizer = new SGD([weight], { lr: 1 });
    const scaler = new GradScaler();
    scaler.scale(mul(weight, tensor([30, 40])).sum()).backward();
    scaler.unscale(optimizer);
    expect(clipGradNorm([weight], 5).itemSync()).toBe(50);
    await scaler.step(optimizer);
    expect(numbers(weight)[0]).toBeCloseTo(-3, 4);
  });

  test('measures gradients without the scale, and leaves them as they are', async () => {
    const weight = leaf([0, 0]);
    const optimizer = new SGD([weight], { lr: 1 });
    const scaler = new GradScaler({ initScale: 1024 });
    const backward = () => scaler.scale(mul(weight, tensor([30, 40])).sum()).backward();
    backward();
    expect(scaler.gradNorm(optimizer).itemSync()).toBe(50);
    backward();
    const norm = scaler.gradNorm(optimizer);
    expect(norm.itemSync()).toBe(100);
    expect(numbers(weight.grad!)).toEqual([60 * 1024, 80 * 1024]);
    expect(await scaler.step(optimizer, { gradScale: clipScale(norm, 10) })).toBe(true);
    expect(numbers(weight)[0]).toBeCloseTo(-6, 5);
    expect(() => scaler.gradNorm(optimizer)).toThrow(/gradNorm: step\(\) was already called/);
    scaler.update();
    optimizer.zeroGrad();
    backward();
    scaler.unscale(optimizer);
    clipGradNorm([weight], 5);
    expect(scaler.gradNorm(optimizer).itemSync()).toBeCloseTo(5, 4);
    optimizer.zeroGrad();
    weight.grad = tensor([3, 4]);
    expect(new GradScaler({ enabled: false }).gradNorm(optimizer).itemSync()).toBe(5);
    const infinite = new GradScaler();
    weight.grad = tensor([Infinity, 1]);
    expect(infinite.gradNorm(optimizer).itemSync()).toBe(Infinity);
    expect(await infinite.step(optimizer)).toBe(false);
  });

  test('a step takes the scale out beside what its options ask for', async () => {
    for (const explicit of [true, false]) {
      const weight = leaf([0, 0]);
      const optimizer = new SGD([weight], { lr: 1 });
      const scaler = new GradScaler({ initScale: 1024 });
      scaler.scale(mul(weight, tensor([30, 40])).sum()).backward();
      if (explicit) scaler.unscale(optimizer);
      expect(await scaler.step(optimizer, { gradScale: tensor([0.5]) })).toBe(true);
      expect(numbers(weight)).toEqual([-15, -20]);
    }
    const weight = leaf([0, 0]);
    const optimizer = new SGD([weight], { lr: 1 });
    weight.grad = tensor([3, 4]);
    await new GradScaler({ enabled: false }).step(optimizer, { gradScale: tensor([0.5]) });
    expect(numbers(weight)).toEqual([-1.5, -2]);
  });

  test('a gradient that is not finite skips the step, is counted, and halves the scale', async () => {
    const weight = leaf([1, 2]);
    const optimizer = new AdamW([weight], { lr: 0.1 });
    const scaler = new GradScaler({ initScale: 8, growthInterval: 2 });
    const run = async (factor: number, explicit = false): Promise<boolean> => {
      optimizer.zeroGrad();
      scaler.scale(mul(weight, tensor([1, factor])).sum()).backward();
      if (explicit) {
        scaler.unscale(optimizer);
        clipGradNorm([weight], 1); // turns infinity into NaN and the rest into zeros
      }
      const made = await scaler.step(optimizer);
      scaler.update();
      return made;
    };
    for (const bad of [Infinity, -Infinity, NaN])
      for (const explicit of [false, true]) expect(await run(bad, explicit)).toBe(false);
    expect(numbers(weight)).toEqual([1, 2]);
    expect(optimizer.stateDict().steps).toEqual([0]);
    expect(scaler.skipped).toBe(6);
    expect(scaler.currentScale).toBe(8 / 64);

    // Grows after two finite steps in a row, and a bad one starts the count again.
    expect(await run(1)).toBe(true);
    expect(scaler.currentScale).toBe(8 / 64);
    expect(await run(NaN)).toBe(false);
    expect(await run(1)).toBe(true);
    expect(scaler.currentScale).toBe(8 / 128);
    expect(await run(1)).toBe(true);
    expect(scaler.currentScale).toBe(8 / 64);
    expect(scaler.scale(ones([])).itemSync()).toBe(8 / 64);
  });

  test('of two optimizers the one with finite gradients steps', async () => {
    const [a, b] = [leaf([1]), leaf([1])];
    const [first, second] = [new SGD([a], { lr: 1 }), new SGD([b], { lr: 1 })];
    const scaler = new GradScaler({ initScale: 4 });
    scaler.scale(mul(a, Infinity).add(b).sum()).backward();
    expect(await scaler.step(first)).toBe(false);
    expect(await scaler.step(second)).toBe(true);
    scaler.update();
    expect([numbers(a), numbers(b)]).toEqual([[1], [0]]);
    expect(scaler.currentScale).toBe(2);
  });

  test('the scale stays a float32 with a finite inverse', async () => {
    const weight = leaf([0]);
    const optimizer = new SGD([weight], { lr: 1 });
    const scaler = new GradScaler({ initScale: 2 ** 127, growthInterval: 1 });
    const run = async (factor: number) => {
      optimizer.zeroGrad();
      scaler.scale(mul(weight, factor).sum()).backward();
      await scaler.step(optimizer);
      scaler.update();
    };
    await run(2 ** -20);
    expect(scaler.currentScale).toBe(2 ** 127);
    for (let i = 0; i < 300; i++) await run(NaN);
    expect(scaler.currentScale).toBe(2 ** -126);
    await run(1);
    expect(numbers(weight)[0]).toBe(-(1 + 2 ** -20));
  });

  test('goes on from a saved state that survived JSON', () => {
    const scaler = new GradScaler({ initScale: 32, growthInterval: 7 });
    const state = { ...scaler.stateDict(), growthTracker: 3, skipped: 2 };
    const other = new GradScaler();
    expect(other.scale(ones([])).itemSync()).toBe(65536);
    other.loadStateDict(JSON.parse(JSON.stringify(state)) as typeof state);
    expect(other.stateDict()).toEqual(state);
    expect(other.scale(ones([])).itemSync()).toBe(32);
    expect(() => other.loadStateDict({ ...state, scale: NaN })).toThrow(/scale must be a positive/);
    expect(other.currentScale).toBe(32);
  });

  test('switched off it passes through', async () => {
    const weight = leaf([1]);
    const optimizer = new SGD([weight], { lr: 1 });
    const scaler = new GradScaler({ enabled: false });
    scaler.scale(weight.sum()).backward();
    scaler.unscale(optimizer);
    expect(await scaler.step(optimizer)).toBe(true);
    scaler.update();
    expect(numbers(weight)).toEqual([0]);
    expect(scaler.currentScale).toBe(1);
  });

  test('refuses calls out of order, and to unscale float16', async () => {
    const weight = leaf([1], 'float16');
    const optimizer = new SGD([weight], { lr: 1 });
    const scaler = new GradScaler({ initScale: 2 });
    expect(() => scaler.update()).toThrow(/await step\(\) of every optimizer first/);
    scaler.scale(weight.sum()).backward();
    expect(() => scaler.unscale(optimizer)).toThrow(/float16 gradients cannot hold/);
    const made = scaler.step(optimizer);
    expect(() => scaler.update()).toThrow(/await step/);
    await made;
    await expect(scaler.step(optimizer)).rejects.toThrow(/already called/);
    scaler.update();
    expect(() => new GradScaler({ backoffFactor: 2 })).toThrow(/backoffFactor in \(0, 1\)/);
  });

  test('leaves nothing behind', async () => {
    const weight = leaf([1]);
    const optimizer = new SGD([weight], { lr: 1 });
    await collectGarbage();
    const before = defaultDevice().memoryStats().tensors;
    const scaler = new GradScaler();
    for (let i = 0; i < 3; i++)
      await tidy(async () => {
        optimizer.zeroGrad();
        scaler.scale(weight.sum()).backward();
        scaler.unscale(optimizer);
        await scaler.step(optimizer);
        scaler.update();
      });
    optimizer.zeroGrad();
    scaler.dispose();
    expect(defaultDevice().memoryStats().tensors).toBe(before);
  });
});

describe('training', () => {
  type Mode =
    'float32' | 'autocast bfloat16' | 'autocast float16' | 'weights float16' | 'weights bfloat16';

  // A convolution, a norm and a linear layer learn fixed answers.
  async function train(mode: Mode): Promise<number> {
    manualSeed(7);
    const [kind, low] = mode.split(' ') as [string, 'bfloat16' | 'float16' | undefined];
    const dtype = kind === 'weights' ? low! : 'float32';
    const parameter = (x: Tensor): Tensor => {
      const weight = keep(cast(x, dtype));
      weight.requiresGrad = true;
      return weight;
    };
    const images = cast(randn([16, 6, 6, 3]), dtype);
    const answers = randn([16, 4]);
    const kernel = parameter(mul(randn([8, 3, 3, 3]), 0.2));
    const [gain, shift] = [parameter(ones([8])), parameter(zeros([8]))];
    const matrix = parameter(mul(randn([4, 288]), 0.02));
    const optimizer = new AdamW([kernel, gain, shift, matrix], { lr: 5e-3 });
    const scaler = new GradScaler({ enabled: low === 'float16' });
    const forward = (): Tensor => {
      const h = groupNorm(conv2d(images, kernel, null, { padding: 1 }), 2, gain, shift);
      const y = linear(silu(h).reshape([16, 288]), matrix);
      return mseLoss(cast(y, 'float32'), answers);
    };
    let last = NaN;
    for (let i = 0; i < 60; i++)
      last = await tidy(async () => {
        const loss = kind === 'autocast' ? autocast(low!, forward) : forward();
        optimizer.zeroGrad();
        scaler.scale(loss).backward();
        await scaler.step(optimizer);
        scaler.update();
        return loss.item();
      });
    return last;
  }

  test('in 16 bits arrives where float32 does', async () => {
    const exact = await train('float32');
    expect(exact).toBeLessThan(0.05);
    for (const mode of [
      'autocast bfloat16',
      'autocast float16',
      'weights float16',
      'weights bfloat16',
    ] as const) {
      const loss = await train(mode);
      expect(Math.abs(loss - exact), `${mode}: ${loss}, float32 ${exact}`).toBeLessThan(0.02);
    }
  });

  test('float16 alone loses the small gradients that scaling saves', () =>
    tidy(() => {
      const weight = leaf([0]);
      const gradient = (scaler: GradScaler): number => {
        weight.grad = null;
        const loss = autocast('float16', () => linear(tensor([[1]]), weight.reshape([1, 1])));
        scaler.scale(cast(loss, 'float32').sum().mul(1e-9)).backward();
        return numbers(weight.grad!)[0] / scaler.currentScale;
      };
      expect(gradient(new GradScaler({ enabled: false }))).toBe(0);
      expect(gradient(new GradScaler())).toBeCloseTo(1e-9, 11);
    }));

  test('the networks of latent diffusion run and train inside autocast', () =>
    tidy(() => {
      manualSeed(3);
      const unet = new UNetModel(
        unetConfig({
          image_size: 8,
          in_channels: 4,
          out_channels: 4,
          model_channels: 32,
          num_res_blocks: 1,
          attention_resolutions: [2],
          channel_mult: [1, 2],
          num_head_channels: 16,
          use_spatial_transformer: true,
          context_dim: 8,
          use_checkpoint: true,
        }),
      );
      const autoencoder = new AutoencoderKL(
        autoencoderConfig({
          embed_dim: 3,
          lossconfig: { target: 'torch.nn.Identity' },
          ddconfig: {
            double_z: true,
            z_channels: 4,
            resolution: 16,
            in_channels: 3,
            out_ch: 3,
            ch: 32,
            ch_mult: [1, 2],
            num_res_blocks: 1,
            attn_resolutions: [8],
            dropout: 0,
          },
        }),
      );
      const [x, context, images] = [randn([2, 8, 8, 4]), randn([2, 3, 8]), randn([1, 16, 16, 3])];
      const t = tensor([3, 500], { dtype: 'int64' });
      const losses = () => {
        const { reconstruction, posterior } = autoencoder.forward(images, { seed: 1 });
        return mseLoss(unet.forward(x, t, { context }), x)
          .add(mseLoss(reconstruction, images))
          .add(posterior.kl().sum().mul(1e-6));
      };
      const exact = losses();
      const low = autocast('bfloat16', losses);
      expect(low.dtype).toBe('float32');
      expect(Math.abs(low.itemSync() / exact.itemSync() - 1)).toBeLessThan(0.02);
      low.backward();
      for (const network of [unet, autoencoder])
        for (const [name, { grad }] of network.namedParameters())
          expect(grad?.dtype, name).toBe('float32');
    }));
});
