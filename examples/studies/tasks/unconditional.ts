// Drawings out of nothing: how close their features come to those of real drawings, and whether they are copies.
import { join } from 'node:path';
import {
  clamp,
  concat,
  DataLoader,
  decodeInBatches,
  FeatureStatistics,
  frechetDistance,
  loadEmojiExtractor,
  makeGrid,
  nearestNeighbours,
  noGrad,
  noise,
  precisionRecall,
  tidy,
  writeImage,
  type LatentDiffusionSpec,
  type Tensor,
} from '../../../lib/index.js';
import { emojiDataset } from '../../demo/dataset.js';
import { side } from '../../demo/emoji.js';
import { allPictures } from '../first_stage/pictures.js';
import type { SharedFirstStage, StudyContext, TaskStudy, TrainedDiffusion } from './study.js';

const latentSide = 16;
const group = 32;

/** The network of this study and of inpainting, which joins `joined` further channels to the latents. */
export function plainSpec({ spec: firstStage }: SharedFirstStage, joined = 0): LatentDiffusionSpec {
  const { embedDim } = firstStage;
  return {
    unet: {
      imageSize: latentSide,
      inChannels: embedDim + joined,
      outChannels: embedDim,
      modelChannels: 64,
      numResBlocks: 1,
      attentionResolutions: [2],
      channelMult: [1, 2],
      numHeadChannels: 32,
      normGroups: 8,
    },
    firstStage,
    diffusion: { linearStart: 0.0015, linearEnd: 0.0195 },
    scaleByStd: true,
  };
}

/** Trains the model of drawings out of nothing, unless another study has. */
export async function trainUnconditional(context: StudyContext): Promise<TrainedDiffusion> {
  const { training, seed } = context;
  const data = new DataLoader(emojiDataset(training), {
    batchSize: 16,
    seed,
    transform: { size: side, flip: 0.5 },
    workers: 0,
  });
  try {
    const spec = plainSpec(await context.firstStage());
    const budget = { steps: 2000, learningRate: 1e-3 };
    return await context.train({ name: 'unconditional', spec, data, ...budget });
  } finally {
    await data.dispose();
  }
}

export const unconditional: TaskStudy = {
  name: 'unconditional',
  title: 'Unconditional',
  claim: {
    metric: "Fréchet distance to the training's drawings, as a share of decoded noise's",
    baseline: 'white noise, decoded',
    margin: 50,
    unit: '%',
    higherIsBetter: false,
  },
  async run(context) {
    const { folder, training, heldOut, seed } = context;
    const { model, record } = await trainUnconditional(context);
    const samples = group * Math.max(1, Math.round(8 * context.scale));
    return tidy(async () => {
      const made: Tensor[] = [];
      for (let from = 0; from < samples; from += group) {
        context.signal.throwIfAborted();
        const seeds = Array.from({ length: group }, (_, i) => seed + from + i);
        made.push((await model.sample({ seed: seeds, steps: 50, eta: 1 })).images!);
      }
      const pictures = clamp(concat(made, 0), -1, 1);
      const latents = noise([samples, latentSide, latentSide, model.spec.unet.outChannels], {
        seed,
      });
      const noisy = clamp(await noGrad(() => decodeInBatches(model, latents, group)), -1, 1);
      const drawings = allPictures(training);
      const unseen = allPictures(heldOut);
      const mean = drawings.mean(0, { keepDims: true });

      const extract = await extractor();
      const [real, generated, random, other] = [
        await extract(drawings),
        await extract(pictures),
        await extract(noisy),
        await extract(unseen),
      ];
      const alike = {
        mean: Float64Array.from((await (await extract(mean)).data()) as Float32Array),
        covariance: new Float64Array(real.shape[1] ** 2),
      };
      const distance = async (features: Tensor) =>
        frechetDistance(await moments(features), await moments(real));
      const [reached, ofNoise] = [await distance(generated), await distance(random)];
      const realism = await precisionRecall(real, generated);
      const ofRandom = await precisionRecall(real, random);
      const near = await nearestNeighbours(pictures, drawings);
      const nearest = await nearestNeighbours(generated, real);
      const percent = (share: number) => 100 * share;

      const shown = Math.min(48, samples);
      await writeImage(
        join(folder, 'samples.png'),
        await makeGrid(pictures.narrow(0, 0, shown), { nrow: 12, padValue: 1 }),
      );
      const copies = Array.from({ length: 12 }, (_, i) => drawings.narrow(0, near.index[i], 1));
      await writeImage(
        join(folder, 'nearest.png'),
        await makeGrid(concat([pictures.narrow(0, 0, 12), ...copies], 0), {
          nrow: 12,
          padValue: 1,
        }),
      );
      return {
        value: percent(reached / ofNoise),
        baseline: 100,
        more: [
          { name: 'Fréchet distance of features', value: reached, baseline: ofNoise, unit: '' },
          { name: 'the same of drawings held out', value: await distance(other), unit: '' },
          {
            name: 'the same of the mean drawing alone',
            value: await frechetDistance(alike, await moments(real)),
            unit: '',
          },
          {
            name: 'precision',
            value: percent(realism.precision),
            baseline: percent(ofRandom.precision),
            unit: '%',
          },
          {
            name: 'recall',
            value: percent(realism.recall),
            baseline: percent(ofRandom.recall),
            unit: '%',
          },
          {
            name: 'mean distance to the nearest drawing of the training (baseline: of drawings held out)',
            value: average(nearest.distance),
            baseline: average((await nearestNeighbours(other, real)).distance),
            unit: '',
          },
          {
            name: 'mean distance of one to another (baseline: of drawings)',
            value: await spread(generated),
            baseline: await spread(real),
            unit: '',
          },
        ],
        pictures: [
          { file: 'samples.png', caption: 'Samples, of 50 steps with η = 1' },
          {
            file: 'nearest.png',
            caption: 'Samples, and under each the training drawing whose pixels are nearest',
          },
        ],
        trainings: [record],
      };
    });
  },
};

async function extractor(): Promise<(pictures: Tensor) => Promise<Tensor>> {
  const network = await loadEmojiExtractor();
  return async (pictures) => {
    const parts: Tensor[] = [];
    for (let from = 0; from < pictures.shape[0]; from += group) {
      const count = Math.min(group, pictures.shape[0] - from);
      parts.push(noGrad(() => network.forward(pictures.narrow(0, from, count)).features));
      await pictures.device.synchronize();
    }
    return concat(parts, 0);
  };
}

async function moments(features: Tensor) {
  const statistics = new FeatureStatistics();
  await statistics.update(features);
  return statistics.moments();
}

const average = (values: Float64Array): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

// Distances of rows to those that stand half the set away: with an order that means nothing, of random pairs.
async function spread(features: Tensor): Promise<number> {
  const half = Math.floor(features.shape[0] / 2);
  const [a, b] = [features.narrow(0, 0, half), features.narrow(0, half, half)];
  return a.sub(b).square().sum(1).sqrt().mean().item();
}
