/** Text to image (paper, section 4.3.1): prompts in, pictures out. */
import { check } from '../../errors.js';
import { tidy } from '../../scope.js';
import { checkTokenizer } from '../conditioning/text/open_tokenizer.js';
import type { TextTokenizer } from '../conditioning/text/tokenizer.js';
import type { LatentDiffusion } from '../diffusion/latent_diffusion.js';
import type { LatentSamples } from '../diffusion/latent_sampling.js';
import { picturesFrom, type PictureOptions } from './pictures.js';

export interface TextToImageOptions extends PictureOptions {
  /** the model's own, from `openTokenizer` */
  tokenizer: TextTokenizer;
  /** what to show, or several texts */
  prompt: string | readonly string[];
  /** what to lead away from, for all or one for each prompt; default '': from nothing in particular */
  negativePrompt?: string | readonly string[];
  /** scale of classifier-free guidance, default 5 */
  guidance?: number;
}

/** The authors' scale of guidance for texts. */
export const defaultTextGuidance = 5;

/**
 * Makes pictures of texts. A picture depends on its prompt and its seed, not on those beside it.
 *
 * ```ts
 * const model = await loadLatentDiffusion('model');
 * const tokenizer = await openTokenizer('model', model.spec.conditioner);
 * const { images } = await textToImage(model, { tokenizer, prompt: 'a red fox in the snow', count: 4 });
 * ```
 *
 * @returns pictures [N, H, W, 3], those of a prompt after each other, and their latents
 * @throws ArgumentError when the model is not conditioned on texts or the tokenizer is not its own, or options do
 *   not go together
 */
export function textToImage(
  model: LatentDiffusion,
  options: TextToImageOptions,
): Promise<LatentSamples> {
  const { tokenizer, prompt, negativePrompt, guidance = defaultTextGuidance, ...rest } = options;
  checkTokenizer(tokenizer, model.conditioner);
  const prompts = typeof prompt === 'string' ? [prompt] : prompt;
  check(negativePrompt === undefined || guidance !== 1, () => {
    return 'textToImage: with a guidance of 1 nothing is led away from: leave negativePrompt out.';
  });
  const negatives =
    typeof negativePrompt === 'object' ? negativePrompt : prompts.map(() => negativePrompt ?? '');
  check(negatives.length === prompts.length, () => {
    return (
      `textToImage: give one negative prompt, or one for each of the ${prompts.length} prompts. ` +
      `Got ${negatives.length}.`
    );
  });
  const { device } = model.betas;
  return tidy(() => {
    const sampling = picturesFrom('textToImage', model, prompts.length, rest);
    const encode = (texts: readonly string[]) =>
      tokenizer.encode(sampling.repeated(texts), { device });
    return model.sample({
      ...sampling.options,
      guidance,
      condition: encode(prompts),
      ...(guidance !== 1 && { unconditional: encode(negatives) }),
    });
  });
}
