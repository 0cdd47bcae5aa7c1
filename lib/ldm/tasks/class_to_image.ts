/** Class to image (paper, section 4.3.2 and appendix D.4): ids or names of classes in, pictures out. */
import { tensor } from '../../creation.js';
import { tidy } from '../../scope.js';
import type { LatentDiffusion } from '../diffusion/latent_diffusion.js';
import { classInputOf, type LatentDiffusionSpec } from '../diffusion/latent_diffusion_spec.js';
import type { LatentSamples } from '../diffusion/latent_sampling.js';
import { classIds } from './class_names.js';
import { picturesFrom, type PictureOptions } from './pictures.js';

export interface ClassToImageOptions extends PictureOptions {
  /** ids or names; see {@link classIds} */
  classes: readonly (number | string)[];
  /** names of the model's classes by their ids; needed where names are given */
  classNames?: readonly string[];
  /** scale of classifier-free guidance; default 3, or 1 where no class of the model stands for "none" */
  guidance?: number;
}

/**
 * Makes pictures of classes. A picture depends on its class and its seed, not on those beside it.
 *
 * ```ts
 * const model = await loadLatentDiffusion('cin256-v2.ckpt', latentDiffusionPresets['cin256-v2']);
 * const { images } = await classToImage(model, { classes: [207, 980], count: 4, steps: 20 });
 * ```
 *
 * @returns pictures [N, H, W, 3], those of a class after each other, and their latents
 * @throws ArgumentError when the model is not conditioned on classes, or has not those asked for
 */
export function classToImage(
  model: LatentDiffusion,
  options: ClassToImageOptions,
): Promise<LatentSamples> {
  const { classes, classNames, guidance = defaultClassGuidance(model.spec) } = options;
  const { classes: _, classNames: __, guidance: ___, ...rest } = options;
  const ids = classIds(model.spec, classes, classNames);
  const { device } = model.betas;
  return tidy(() => {
    const sampling = picturesFrom('classToImage', model, ids.length, rest);
    const condition = tensor(BigInt64Array.from(sampling.repeated(ids), BigInt), { device });
    return model.sample({ ...sampling.options, guidance, condition });
  });
}

/** The scale of the authors' samples, where the model allows for guidance. */
export function defaultClassGuidance(spec: LatentDiffusionSpec): number {
  return classInputOf(spec)?.unconditionalClass === undefined ? 1 : 3;
}
