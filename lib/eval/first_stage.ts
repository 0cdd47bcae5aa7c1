// What a first stage keeps of pictures: distances of each from its reconstruction, and of one set from the other.
import { tensor } from '../creation.js';
import { noGrad } from '../autograd/index.js';
import type { Pixels } from '../io/decode_image.js';
import { pixelsOf } from '../io/image.js';
import {
  decodeTiled,
  encodeTiled,
  type FirstStage,
  type TilingOptions,
} from '../ldm/first_stage/index.js';
import {
  compareImages,
  summarize,
  type CompareOptions,
  type PictureQuality,
} from '../metrics/folders.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';
import type { PictureExtractor } from './extractor.js';
import { FeatureTable, type ExtractOptions, type SetFeatures } from './features.js';
import { pixelHash } from './hash.js';
import type { PictureSet } from './picture_set.js';

export interface FirstStageOptions extends ExtractOptions, CompareOptions {
  /** How a picture of this size goes through the model. */
  tiling(size: { height: number; width: number }): TilingOptions;
}

export interface FirstStageQuality {
  readonly summary: ReturnType<typeof summarize>;
  readonly originals: SetFeatures;
  readonly reconstructions: SetFeatures;
}

/**
 * Sends each picture through the model, alone, and measures what came back in 8 bits. A KL model decodes the
 * posterior's mode.
 */
export async function evaluateFirstStage(
  model: FirstStage,
  set: PictureSet,
  extractor: PictureExtractor,
  options: FirstStageOptions,
): Promise<FirstStageQuality> {
  const { signal, onProgress } = options;
  const newTable = () => new FeatureTable(set.count, extractor.width, extractor.classes);
  const tables = { originals: newTable(), reconstructions: newTable() };
  const qualities: PictureQuality[] = [];
  await set.visit(
    extractor.group,
    async (pictures) => {
      const originals = pictures.map(({ pixels }) => pixels);
      const reconstructions: Pixels[] = [];
      for (const original of originals) {
        signal?.throwIfAborted();
        const back = await reconstructed(model, original, options);
        reconstructions.push(back);
        qualities.push(await tidy(() => compareImages(asImage(original), asImage(back), options)));
        onProgress?.(qualities.length);
      }
      // In step with the originals, the rows are sorted by them.
      const hashes = Buffer.concat(originals.map(pixelHash));
      tables.originals.add(await extractor.extract(originals), hashes);
      tables.reconstructions.add(await extractor.extract(reconstructions), hashes);
    },
    signal,
  );
  return {
    summary: summarize(qualities),
    originals: tables.originals.sorted(),
    reconstructions: tables.reconstructions.sorted(),
  };
}

function reconstructed(
  model: FirstStage,
  picture: Pixels,
  { tiling }: FirstStageOptions,
): Promise<Pixels> {
  return tidy(() =>
    noGrad(async () => {
      const { height, width } = picture;
      const how = tiling(picture);
      const latents = await encodeTiled(model, asImage(picture), how);
      return pixelsOf(await decodeTiled(model, latents, { ...how, size: [height, width] }));
    }),
  );
}

function asImage({ data, height, width }: Pixels): Tensor {
  const values = Float32Array.from(data, (byte) => byte / 127.5 - 1);
  return tensor(values, { shape: [1, height, width, 3] });
}
