// From words to pictures: DDIM with classifier-free guidance in the latent space, then the decoder.
import { noGrad, tidy, type Tensor } from '../../lib/index.js';
import { GaussianDiffusion, guided, sampleDdim, type AutoencoderKL } from '../../lib/ldm/index.js';
import type { EmojiDiffusion } from './models.js';

export interface Wish {
  /** Name of a category; missing: any. */
  category?: string;
  caption?: string;
  /** The same seed gives the same picture. */
  seed: number;
}

export interface SampleSettings {
  steps: number;
  guidance: number;
}

/** Pictures [N, 64, 64, 3] in [-1, 1]. */
export function samplePictures(
  model: EmojiDiffusion,
  autoencoder: AutoencoderKL,
  wishes: readonly Wish[],
  { steps, guidance }: SampleSettings,
): Promise<Tensor> {
  return noGrad(() =>
    tidy(async () => {
      const { scaleFactor, diffusion } = model.config;
      const wanted = model.condition(
        wishes.map((wish) => model.classOf(wish.category)),
        wishes.map((wish) => wish.caption ?? ''),
      );
      const denoise = guided(
        (x, t, conditioning) => model.forward(x, t, conditioning),
        wanted,
        model.unconditional(wishes.length),
        guidance,
      );
      const latents = await sampleDdim(denoise, new GaussianDiffusion(diffusion).schedule, {
        steps,
        shape: model.latentShape(wishes.length),
        parameterization: diffusion.parameterization,
        seed: wishes.map((wish) => wish.seed),
      });
      return autoencoder.decode(latents.mul(1 / scaleFactor)).clamp(-1, 1);
    }),
  );
}
