/** Text to image (paper, section 4.3.1): prompts in, pictures out. */
import { check } from '../../errors.js';
import { tidy } from '../../scope.js';
import type { LatentDiffusion } from '../diffusion/latent_diffusion.js';
import type { LatentSamples } from '../diffusion/latent_sampling.js';
import { taskOf } from '../diffusion/task_of.js';
import { picturesFrom, type PictureOptions } from './pictures.js';
import { readPrompts, type PromptOptions } from './prompts.js';

export interface TextToImageOptions extends Omit<PictureOptions, 'guidance'>, PromptOptions {}

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
 * @throws ArgumentError when the model is not conditioned on texts alone or the tokenizer is not its own, or options
 *   do not go together
 */
export function textToImage(
  model: LatentDiffusion,
  options: TextToImageOptions,
): Promise<LatentSamples> {
  const { tokenizer, prompt, negativePrompt, guidance, ...rest } = options;
  const { conditioner, betas, spec } = model;
  const { condition, madeBy } = taskOf(spec);
  check(madeBy === 'textToImage', () => {
    const remedy = madeBy ? `Use ${madeBy}.` : 'LatentDiffusion.sample makes its pictures.';
    return `textToImage: the model is conditioned on ${condition}, not on texts alone. ${remedy}`;
  });
  const texts = { tokenizer, prompt, negativePrompt, guidance };
  const prompts = readPrompts('textToImage', conditioner, texts);
  return tidy(() => {
    const sampling = picturesFrom('textToImage', model, prompts.count, rest);
    const told = prompts.told((entries) => sampling.repeated(entries), betas.device);
    return model.sample({ ...sampling.options, ...told });
  });
}
