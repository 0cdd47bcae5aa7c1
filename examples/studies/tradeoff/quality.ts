// How close samples are to drawings, by the features of the built-in network, and how long they took.
import {
  FeatureStatistics,
  frechetDistance,
  loadEmojiExtractor,
  noGrad,
  tidy,
  type EmojiExtractor,
  type FeatureMoments,
  type LatentDiffusion,
  type Tensor,
} from '../../../lib/index.js';
import type { EmojiSet } from '../../demo/emoji.js';
import { allPictures } from '../first_stage/pictures.js';

/** What sampling with so many steps gave. */
export interface Sampled {
  /** Fréchet distance of the samples to the drawings trained on. */
  readonly distance: number;
  /** Of each group that was sampled and decoded at once. */
  readonly seconds: readonly number[];
  readonly peakBytes: number;
}

/** Samples at once, whatever the model. */
export const group = 16;

/** Measures distances to the drawings of a training. */
export class Judge {
  private constructor(
    private readonly extractor: EmojiExtractor,
    private readonly reference: FeatureMoments,
  ) {}

  static async open(training: EmojiSet): Promise<Judge> {
    const extractor = await loadEmojiExtractor();
    const reference = await statisticsOf(extractor, training);
    return new Judge(extractor, reference.moments());
  }

  /** The distance of drawings that no training saw: about the least that samples can have. */
  async distanceOf(drawings: EmojiSet): Promise<number> {
    const statistics = await statisticsOf(this.extractor, drawings);
    return frechetDistance(statistics.moments(), this.reference);
  }

  /** Samples `count` pictures by DDIM without noise, always of the same seeds. */
  async sample(
    model: LatentDiffusion,
    steps: number,
    count: number,
    signal: AbortSignal,
  ): Promise<Sampled> {
    const { device } = model.betas;
    const statistics = new FeatureStatistics();
    const seconds: number[] = [];
    device.resetPeak();
    for (let from = 0; from < count; from += group) {
      await tidy(async () => {
        const seed = Array.from({ length: group }, (_, i) => from + i);
        const began = performance.now();
        const { images } = await model.sample({ steps, seed, signal, decodeBatch: group });
        await device.synchronize();
        seconds.push((performance.now() - began) / 1000);
        await statistics.update(featuresOf(this.extractor, images!));
      });
    }
    const { peakBytes } = device.memoryStats();
    const distance = await frechetDistance(statistics.moments(), this.reference);
    return { distance, seconds, peakBytes };
  }
}

async function statisticsOf(
  extractor: EmojiExtractor,
  drawings: EmojiSet,
): Promise<FeatureStatistics> {
  const statistics = new FeatureStatistics();
  await tidy(async () => {
    const pictures = allPictures(drawings);
    for (let from = 0; from < drawings.count; from += group) {
      const some = pictures.narrow(0, from, Math.min(group, drawings.count - from));
      await statistics.update(featuresOf(extractor, some));
    }
  });
  return statistics;
}

const featuresOf = (extractor: EmojiExtractor, pictures: Tensor): Tensor =>
  noGrad(() => extractor.forward(pictures.clamp(-1, 1)).features);
