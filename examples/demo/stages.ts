// The two trainings of latent diffusion, by hand: first the autoencoder on pictures, then the denoising
// network on its latents.
import {
  AdamW,
  concat,
  Ema,
  indexSelect,
  keep,
  manualSeed,
  matmul,
  noGrad,
  noise,
  tensor,
  tidy,
  type Tensor,
} from '../../lib/index.js';
import { AutoencoderKL, GaussianDiffusion } from '../../lib/ldm/index.js';
import { Order, pictureBatch, plainBatch, random, streams, type Placement } from './batches.js';
import { isHeldOut, type EmojiSet } from './emoji.js';
import {
  autoencoderConfig,
  EmojiDiffusion,
  latentSide,
  type EmojiDiffusionConfig,
} from './models.js';
import type { MetricsFile } from './progress.js';
import type { Settings } from './settings.js';
import { train } from './train.js';

export interface Run {
  settings: Settings;
  seed: number;
  set: EmojiSet;
  metrics: MetricsFile;
  signal: AbortSignal;
  /** Where a stage keeps its state. */
  statePath: (stage: string) => string;
}

// Enough for latents whose noise is two fifths of their deviation: neighbours must agree for a picture to come
// through, and what agrees is what the second stage can learn.
const klWeight = 2e-5;
// Hues are a small part of L1 and would be learnt last: green long after the rest. Squares care for large
// errors, and those of colour differences (red and blue against green) count a little more.
const squareWeight = 10;
const hueWeight = 3;
// Log-variance that the posterior starts from: with that of 0 the decoder would first have to learn to
// read through noise as strong as the latents.
const firstLogVariance = -3;
const pictures = (set: EmojiSet, heldOut: boolean): number[] =>
  Array.from({ length: set.count }, (_, i) => i).filter((i) => isHeldOut(i) === heldOut);

/** Trains the autoencoder: L1 + L2 + L2 of hues + KL. Its weights end as their moving average. */
export async function trainAutoencoder(
  run: Run,
): Promise<{ model: AutoencoderKL; seconds: number }> {
  const { settings, seed, set } = run;
  manualSeed(seed);
  const model = new AutoencoderKL(autoencoderConfig(settings));
  const moments = 2 * settings.autoencoder.latentChannels; // the means' biases, then the log-variances'
  const bias = tensor(
    Array.from({ length: moments }, (_, i) => (i < moments / 2 ? 0 : firstLogVariance)),
  );
  model.loadStateDict({ 'quant_conv.bias': bias }, { strict: false });
  bias.dispose();
  const stage = settings.autoencoder;
  const optimizer = new AdamW(model.parameters(), {
    lr: stage.learningRate,
    weightDecay: 0,
  });
  const ema = new Ema(model.namedParameters(), { decay: stage.emaDecay });
  const opponents = tensor([1, 0, -1, -1, 0, 1], { shape: [3, 2] });
  const order = new Order(pictures(set, false), seed, streams.autoencoder);
  const size = latentSide(settings);
  const latentShape = [stage.batch, size, size, stage.latentChannels];

  const seconds = await train({
    name: 'autoencoder',
    settings: stage,
    trainee: { model, optimizer, ema },
    path: run.statePath('autoencoder'),
    metrics: run.metrics,
    signal: run.signal,
    secondsBetweenSaves: settings.secondsBetweenSaves,
    loss(step) {
      const draw = random(seed, streams.autoencoder, step);
      const placements: Placement[] = order.at(step, stage.batch).map((index) => ({
        index,
        mirrored: draw() < 0.5,
        shiftX: Math.floor(draw() * 9) - 4,
        shiftY: Math.floor(draw() * 9) - 4,
      }));
      const x = pictureBatch(set, placements);
      const { reconstruction, posterior } = model.forward(
        x,
        noise(latentShape, { seed, stream: streams.posterior, step }),
      );
      const error = reconstruction.sub(x);
      const hue = matmul(error, opponents);
      return error
        .abs()
        .mean()
        .add(error.square().mean().mul(squareWeight))
        .add(hue.square().mean().mul(hueWeight))
        .add(posterior.kl().mean().mul(klWeight));
    },
  });
  ema.copyTo();
  opponents.dispose();
  optimizer.dispose();
  ema.dispose();
  return { model: model.eval(), seconds };
}

/** Reconstructions of the held-out pictures, and their mean PSNR in dB. */
export async function reconstruct(
  run: Run,
  model: AutoencoderKL,
): Promise<{ originals: Tensor; reconstructions: Tensor; psnr: number }> {
  const held = pictures(run.set, true);
  return noGrad(() =>
    tidy(async () => {
      const originals = plainBatch(run.set, held);
      const parts = [];
      for (let from = 0; from < held.length; from += 32)
        parts.push(
          tidy(() =>
            model
              .forward(plainBatch(run.set, held.slice(from, from + 32)))
              .reconstruction.clamp(-1, 1),
          ),
        );
      const reconstructions = concat(parts, 0);
      // The range of values is 2: PSNR = 10·log10(4 / mse), averaged over pictures.
      const errors = await reconstructions.sub(originals).square().mean([1, 2, 3]).data();
      const each = [...(errors as Float32Array)].map((error) => 10 * Math.log10(4 / error));
      return { originals, reconstructions, psnr: each.reduce((a, b) => a + b, 0) / each.length };
    }),
  );
}

/** Mean and standard deviation of every picture's posterior, plain and mirrored: [2·N, H, W, C] each. */
async function encodeAll(
  run: Run,
  model: AutoencoderKL,
): Promise<{ means: Tensor; deviations: Tensor }> {
  const all = Array.from({ length: 2 * run.set.count }, (_, i) => ({
    index: i >> 1,
    mirrored: i % 2 === 1,
    shiftX: 0,
    shiftY: 0,
  }));
  return noGrad(() =>
    tidy(async () => {
      const means: Tensor[] = [];
      const deviations: Tensor[] = [];
      for (let from = 0; from < all.length; from += 64) {
        const posterior = tidy(() => {
          const { mean, std } = model.encode(pictureBatch(run.set, all.slice(from, from + 64)));
          return { mean, std };
        });
        means.push(posterior.mean);
        deviations.push(posterior.std);
        await posterior.mean.device.synchronize();
      }
      return { means: concat(means, 0), deviations: concat(deviations, 0) };
    }),
  );
}

/** Trains the denoising network on cached latents. Captions and categories are dropped now and then. */
export async function trainDiffusion(
  run: Run,
  autoencoder: AutoencoderKL,
  config: EmojiDiffusionConfig,
): Promise<{ model: EmojiDiffusion; seconds: number }> {
  const { settings, seed, set } = run;
  const stage = settings.diffusion;
  const { means, deviations } = await encodeAll(run, autoencoder);
  keep(means);
  keep(deviations);
  const scaleFactor =
    1 /
    (await noGrad(() => tidy(() => means.square().add(deviations.square()).mean().sqrt().item())));

  manualSeed(seed + 1);
  const model = new EmojiDiffusion({ ...config, scaleFactor });
  const diffusion = new GaussianDiffusion(config.diffusion);
  const optimizer = new AdamW(model.parameters(), {
    lr: stage.learningRate,
    betas: [0.9, 0.99],
    weightDecay: 0.01,
  });
  const ema = new Ema(model.namedParameters(), { decay: stage.emaDecay });
  const order = new Order(
    Array.from({ length: set.count }, (_, i) => i),
    seed,
    streams.diffusion,
  );

  const seconds = await train({
    name: 'diffusion',
    settings: stage,
    trainee: { model, optimizer, ema },
    path: run.statePath('diffusion'),
    metrics: run.metrics,
    signal: run.signal,
    secondsBetweenSaves: settings.secondsBetweenSaves,
    loss(step) {
      const draw = random(seed, streams.diffusion, step);
      const members = order.at(step, stage.batch);
      const rows = tensor(Int32Array.from(members, (index) => 2 * index + (draw() < 0.5 ? 1 : 0)));
      const key = (stream: number): { seed: number; stream: number; step: number } => ({
        seed,
        stream,
        step,
      });
      const mean = indexSelect(means, 0, rows);
      const eps = noise(mean.shape, key(streams.posterior));
      const latents = mean.add(indexSelect(deviations, 0, rows).mul(eps)).mul(scaleFactor);
      // One timestep from every part of the range: a batch then weighs all noise levels alike.
      const t = tensor(
        Int32Array.from(members, (_, i) => Math.floor(((i + draw()) / members.length) * 1000)),
      );
      const conditioning = model.condition(
        members.map((index) => (draw() < 0.25 ? model.classOf() : set.category[index])),
        members.map((index) => (draw() < 0.25 ? '' : someWords(set.captions[index], draw))),
      );
      return diffusion.loss(
        (x, times) => model.forward(x, times, conditioning),
        latents,
        t,
        noise(mean.shape, key(streams.noise)),
      ).loss;
    },
  });
  ema.copyTo();
  for (const used of [means, deviations, optimizer, ema, diffusion]) used.dispose();
  return { model: model.eval(), seconds };
}

// A caption with some of its words, so that one or two are enough when sampling.
function someWords(caption: string, draw: () => number): string {
  const words = caption.split(' ').filter(() => draw() < 0.8);
  return words.join(' ');
}
