// What the studies of classes and of texts share: the network, how pictures are judged and shown.
import { join } from 'node:path';
import {
  concat,
  emojiCategories,
  loadEmojiExtractor,
  makeGrid,
  noGrad,
  tidy,
  writeImage,
  type ConditionerSpec,
  type LatentDiffusionSpec,
  type Tensor,
} from '../../../lib/index.js';
import type { SharedFirstStage } from './study.js';

/** Width of the contexts that the network attends to. */
export const contextDim = 64;

/**
 * Of v the network must say what is in a picture from the noisiest step on. Where it predicts the noise, its small
 * errors there become large ones of the picture, and a short training leaves blotches in place of white.
 */
export const ofVelocity = { parameterization: 'v' } as const;

/** How pictures are sampled. */
export const sampling = { method: 'dpm-solver++', steps: 20, guidance: 3 } as const;

/** A network of 64 channels on the latents of the shared first stage, told of the condition by attention. */
export function attendingSpec(
  { spec: firstStage }: SharedFirstStage,
  conditioner: ConditionerSpec,
): LatentDiffusionSpec {
  const { embedDim } = firstStage;
  return {
    unet: {
      imageSize: 16,
      inChannels: embedDim,
      outChannels: embedDim,
      modelChannels: 64,
      numResBlocks: 1,
      attentionResolutions: [2],
      channelMult: [1, 2],
      numHeadChannels: 32,
      normGroups: 8,
      useSpatialTransformer: true,
      contextDim,
    },
    firstStage,
    conditioner,
    conditioningKey: 'crossattn',
    conditionerTrainable: true,
    diffusion: { ...ofVelocity, linearStart: 0.0015, linearEnd: 0.0195 },
    imageSize: 16,
    scaleByStd: true,
  };
}

/**
 * The categories that the built-in classifier sees, as numbers in `categories`.
 * @param pictures [N, 64, 64, 3] in [-1, 1]
 */
export async function seenCategories(
  pictures: Tensor,
  categories: readonly string[],
): Promise<number[]> {
  const extractor = await loadEmojiExtractor();
  try {
    return await noGrad(() =>
      tidy(async () => {
        const { logits } = extractor.forward(pictures.clamp(-1, 1));
        const best = Array.from(await logits.argmax(1).data(), Number);
        return best.map((label) => categories.indexOf(emojiCategories[label]));
      }),
    );
  } finally {
    extractor.dispose();
  }
}

/** Writes pictures as one; the result is what a study's page shows. */
export async function shown(
  folder: string,
  file: string,
  { pictures, perRow, caption }: { pictures: Tensor; perRow: number; caption: string },
): Promise<{ file: string; caption: string }> {
  await writeImage(join(folder, file), await makeGrid(pictures, { nrow: perRow, padValue: 1 }));
  return { file, caption };
}

/** Each picture in the place of the one before it: what is compared with another's. */
export const rolled = (pictures: Tensor): Tensor =>
  concat([pictures.narrow(0, 1, pictures.shape[0] - 1), pictures.narrow(0, 0, 1)], 0);

/** Of a list of judgements, how many hundredths are true. */
export const percent = (right: readonly boolean[]): number =>
  (100 * right.filter(Boolean).length) / right.length;
