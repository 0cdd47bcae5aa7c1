/** Prompts as a model of texts is told them: what is to be seen, and what guidance leads away from. */
import type { Device } from '../../device.js';
import { check } from '../../errors.js';
import type { ConditionerSpec } from '../conditioning/conditioner.js';
import { checkTokenizer } from '../conditioning/text/open_tokenizer.js';
import type { TextTokenizer } from '../conditioning/text/tokenizer.js';
import type { SampleOptions } from '../diffusion/latent_sampling.js';

export interface PromptOptions {
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

/** Texts that go together. */
export interface Prompts {
  readonly count: number;
  /**
   * What sampling is told.
   * @param repeated makes one entry for each picture of one for each prompt
   */
  told(
    repeated: <T>(entries: readonly T[]) => readonly T[],
    device: Device,
  ): Pick<SampleOptions, 'condition' | 'unconditional' | 'guidance'>;
}

/**
 * @internal Checks prompts.
 * @param what begins error messages
 * @throws ArgumentError when the tokenizer is not the conditioner's, or texts do not go together
 */
export function readPrompts(
  what: string,
  conditioner: ConditionerSpec,
  { tokenizer, prompt, negativePrompt, guidance = defaultTextGuidance }: PromptOptions,
): Prompts {
  checkTokenizer(tokenizer, conditioner);
  const prompts = typeof prompt === 'string' ? [prompt] : prompt;
  check(negativePrompt === undefined || guidance !== 1, () => {
    return `${what}: with a guidance of 1 nothing is led away from: leave negativePrompt out.`;
  });
  const negatives =
    typeof negativePrompt === 'object' ? negativePrompt : prompts.map(() => negativePrompt ?? '');
  check(negatives.length === prompts.length, () => {
    return (
      `${what}: give one negative prompt, or one for each of the ${prompts.length} prompts. ` +
      `Got ${negatives.length}.`
    );
  });
  return {
    count: prompts.length,
    told(repeated, device) {
      const encode = (texts: readonly string[]) => tokenizer.encode(repeated(texts), { device });
      return {
        guidance,
        condition: encode(prompts),
        ...(guidance !== 1 && { unconditional: encode(negatives) }),
      };
    },
  };
}
