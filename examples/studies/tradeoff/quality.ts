// How close samples are to drawings, by the features of the built-in network.
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

/** Pictures at once. */
const group = 16;

/** Measures Fréchet distances to the drawings of a training. */
export class Judge {
  private opened?: Promise<{ extractor: EmojiExtractor; reference: FeatureMoments }>;

  constructor(private readonly training: EmojiSet) {}

  /** The distance of drawings that no training saw: about the least that samples can have. */
  async distanceOf(drawings: EmojiSet): Promise<number> {
    const { extractor, reference } = await this.open();
    return frechetDistance((await statisticsOf(extractor, drawings)).moments(), reference);
  }

  /** The distance of `count` samples by DDIM without noise, always of the same seeds. */
  async distanceOfSamples(
    model: LatentDiffusion,
    steps: number,
    count: number,
    signal: AbortSignal,
  ): Promise<number> {
    const { extractor, reference } = await this.open();
    const statistics = new FeatureStatistics();
    for (let from = 0; from < count; from += group) {
      await tidy(async () => {
        const seed = Array.from({ length: group }, (_, i) => from + i);
        const { images } = await model.sample({ steps, seed, signal, decodeBatch: group });
        await statistics.update(featuresOf(extractor, images!));
      });
    }
    return frechetDistance(statistics.moments(), reference);
  }

  // When it is first asked: a run that measures speeds alone has no use for it.
  private open() {
    return (this.opened ??= (async () => {
      const extractor = await loadEmojiExtractor();
      return { extractor, reference: (await statisticsOf(extractor, this.training)).moments() };
    })());
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
