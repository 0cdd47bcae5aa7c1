// The two trainings of latent diffusion, by hand: first the autoencoder on pictures, then the denoising
// network on its latents.
import {
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
import { Optimizers } from './optimizers.js';
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

// Enough for latents whose noise is most of their deviation: the decoder then forgives what the second stage
// gets a little wrong, and neighbours must agree for a picture to come through at all.
const klWeight = 4e-4;
// Hues are a small part of L1 and would be learnt last: green long after the rest. Squares care for large
// errors, and those of colour differences (red and blue against green) count a little more.
const squareWeight = 10;
const hueWeight = 12;
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
  const optimizers = new Optimizers(model, stage, 0);
  const ema = new Ema(model.namedParameters(), { decay: stage.emaDecay });
  const opponents = tensor([1, 0, -1, -1, 0, 1], { shape: [3, 2] });
  const order = new Order(pictures(set, false), seed, streams.autoencoder);
  const size = latentSide(settings);
  const latentShape = [stage.batch, size, size, stage.latentChannels];

  const seconds = await train({
    name: 'autoencoder',
    settings: stage,
    trainee: { model, optimizers, ema },
    path: run.statePath('autoencoder'),
    metrics: run.metrics,
    signal: run.signal,
    secondsBetweenSaves: settings.secondsBetweenSaves,
    inputs(step) {
      const draw = random(seed, streams.autoencoder, step);
      const placements: Placement[] = order.at(step, stage.batch).map((index) => ({
        index,
        mirrored: draw() < 0.5,
        shiftX: Math.floor(draw() * 9) - 4,
        shiftY: Math.floor(draw() * 9) - 4,
      }));
      return [
        pictureBatch(set, placements),
        noise(latentShape, { seed, stream: streams.posterior, step }),
      ];
    },
    loss(x: Tensor, epsilon: Tensor) {
      const { reconstruction, posterior } = model.forward(x, epsilon);
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
  optimizers.dispose();
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

/** The mean of every picture's posterior: [N, H, W, C]. */
async function encodeAll(run: Run, model: AutoencoderKL): Promise<Tensor> {
  const all = Array.from({ length: run.set.count }, (_, i) => i);
  return noGrad(() =>
    tidy(async () => {
      const means: Tensor[] = [];
      for (let from = 0; from < all.length; from += 64) {
        const mean = tidy(() => model.encode(plainBatch(run.set, all.slice(from, from + 64))).mean);
        means.push(mean);
        await mean.device.synchronize();
      }
      return concat(means, 0);
    }),
  );
}

/**
 * Trains the denoising network on cached latents: the posteriors' means, since their noise tells nothing
 * about a picture and would be learnt too. Nothing is mirrored: a caption means one drawing, and letters and
 * flags would be wrong. Captions and categories are dropped now and then.
 */
export async function trainDiffusion(
  run: Run,
  autoencoder: AutoencoderKL,
  config: EmojiDiffusionConfig,
): Promise<{ model: EmojiDiffusion; seconds: number }> {
  const { settings, seed, set } = run;
  const stage = settings.diffusion;
  const means = keep(await encodeAll(run, autoencoder));
  const scaleFactor = 1 / (await noGrad(() => tidy(() => means.square().mean().sqrt().item())));

  manualSeed(seed + 1);
  const model = new EmojiDiffusion({ ...config, scaleFactor });
  const diffusion = new GaussianDiffusion(config.diffusion);
  const optimizers = new Optimizers(model, stage, 0.01);
  const ema = new Ema(model.namedParameters(), { decay: stage.emaDecay });
  const order = new Order(
    Array.from({ length: set.count }, (_, i) => i),
    seed,
    streams.diffusion,
  );

  const seconds = await train({
    name: 'diffusion',
    settings: stage,
    trainee: { model, optimizers, ema },
    path: run.statePath('diffusion'),
    metrics: run.metrics,
    signal: run.signal,
    secondsBetweenSaves: settings.secondsBetweenSaves,
    inputs(step) {
      const draw = random(seed, streams.diffusion, step);
      const members = order.at(step, stage.batch);
      const latents = indexSelect(means, 0, tensor(Int32Array.from(members))).mul(scaleFactor);
      // One timestep from every part of the range: a batch then weighs all noise levels alike.
      const t = tensor(
        Int32Array.from(members, (_, i) => Math.floor(((i + draw()) / members.length) * 1000)),
      );
      const known = members.map(() => whatIsKnown(draw()));
      const { y, ids } = model.condition(
        members.map((index, i) => (known[i].category ? set.category[index] : model.classOf())),
        members.map((index, i) => (known[i].caption ? someWords(set.captions[index], draw) : '')),
      );
      return [latents, t, noise(latents.shape, { seed, stream: streams.noise, step }), y, ids];
    },
    loss(latents: Tensor, t: Tensor, epsilon: Tensor, y: Tensor, ids: Tensor) {
      const predict = (x: Tensor, times: Tensor) => model.forward(x, times, { y, ids });
      return diffusion.loss(predict, latents, t, epsilon).loss;
    },
  });
  ema.copyTo();
  for (const used of [means, optimizers, ema, diffusion]) used.dispose();
  return { model: model.eval(), seconds };
}

// Most pictures are seen with category and caption; some with one of them alone, since a sample may be asked
// for so, and some with neither, which is what guidance leads away from. A category means two hundred
// drawings, a caption one, and takes longer to learn.
function whatIsKnown(chance: number): { category: boolean; caption: boolean } {
  return { category: chance >= 0.16, caption: chance >= 0.36 || (chance >= 0.08 && chance < 0.16) };
}

// A caption as it is, or with some of its words, so that one or two are enough when sampling.
function someWords(caption: string, draw: () => number): string {
  const share = draw() < 0.6 ? 1 : 0.6;
  const words = caption.split(' ').filter(() => draw() < share);
  return words.join(' ');
}
