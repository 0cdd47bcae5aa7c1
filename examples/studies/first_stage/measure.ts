// What a first stage keeps of pictures that it has never seen.
import {
  clamp,
  concat,
  CodeUsage,
  FeatureStatistics,
  flip,
  frechetDistance,
  meanStd,
  noGrad,
  psnr,
  ssim,
  tidy,
  VQModel,
  type EmojiExtractor,
  type FeatureMoments,
  type FirstStage,
  type MeanStd,
  type Tensor,
} from '../../../lib/index.js';

export interface Quality {
  /** dB, over pictures. */
  psnr: MeanStd;
  ssim: MeanStd;
  /**
   * R-FID with the built-in extractor: between originals and reconstructions, each with its mirror image, since
   * the features have more dimensions than there are pictures. Compares with its like only.
   */
  rfid: number;
  /** Energy of the pictures' gradients over that of the originals: below 1 is blurred. */
  sharpness: number;
  latentStd: number;
  /** Of a VQ model: codes that any of the pictures uses, and e to the entropy of their use. */
  codes?: { used: number; perplexity: number };
}

const batch = 16;

/** Reconstructions in [-1, 1], from the most likely latents. */
export function reconstruct(model: FirstStage, pictures: Tensor): Promise<Tensor> {
  return inBatches(pictures, (images) =>
    clamp(model.decodeLatents(model.encodeToLatents(images)), -1, 1),
  );
}

export async function measure(
  model: FirstStage,
  extractor: EmojiExtractor,
  pictures: Tensor,
  reconstructions: Tensor,
): Promise<Quality> {
  const [original, reconstructed] = [
    await momentsOf(extractor, pictures),
    await momentsOf(extractor, reconstructions),
  ];
  const latents = await inBatches(pictures, (images) => model.encodeToLatents(images));
  const quality: Quality = {
    psnr: meanStd(await numbers(() => psnr(pictures, reconstructions))),
    ssim: meanStd(await numbers(() => ssim(pictures, reconstructions))),
    rfid: await frechetDistance(original, reconstructed),
    sharpness: (await gradientEnergy(reconstructions)) / (await gradientEnergy(pictures)),
    latentStd: meanStd(await numbers(() => latents.alias())).std,
  };
  if (model instanceof VQModel) {
    const usage = new CodeUsage(model.config.nEmbed);
    tidy(() => noGrad(() => usage.forward(model.quantize.nearest(latents))));
    const { used, perplexity } = await usage.report();
    quality.codes = { used, perplexity };
    usage.dispose();
  }
  latents.dispose();
  return quality;
}

async function inBatches(pictures: Tensor, compute: (images: Tensor) => Tensor): Promise<Tensor> {
  return tidy(async () => {
    const parts: Tensor[] = [];
    for (let from = 0; from < pictures.shape[0]; from += batch) {
      const count = Math.min(batch, pictures.shape[0] - from);
      const part = tidy(() => noGrad(() => compute(pictures.narrow(0, from, count))));
      parts.push(part);
      await part.device.synchronize();
    }
    return concat(parts, 0);
  });
}

async function momentsOf(extractor: EmojiExtractor, pictures: Tensor): Promise<FeatureMoments> {
  const statistics = new FeatureStatistics();
  for (const seen of [(x: Tensor) => x, (x: Tensor) => flip(x, 2)]) {
    const features = await inBatches(pictures, (x) => extractor.forward(seen(x)).features);
    await statistics.update(features);
    features.dispose();
  }
  return statistics.moments();
}

const numbers = (compute: () => Tensor): Promise<number[]> =>
  tidy(async () => [...((await noGrad(compute).data()) as Float32Array)]);

// mean square difference of neighbours, across and down
export const gradientEnergy = (x: Tensor): Promise<number> =>
  tidy(async () => {
    const [, H, W] = x.shape;
    const across = x.narrow(2, 1, W - 1).sub(x.narrow(2, 0, W - 1));
    const down = x.narrow(1, 1, H - 1).sub(x.narrow(1, 0, H - 1));
    return across.square().mean().add(down.square().mean()).item();
  });
