/** What is to be made where nothing is known, of models that can be asked: by texts, or by classes. */
import { tensor, zeros } from '../../creation.js';
import { check } from '../../errors.js';
import type { Tensor } from '../../tensor.js';
import { textInputOf, unconditionalInput } from '../conditioning/index.js';
import type { TextTokenizer } from '../conditioning/text/tokenizer.js';
import { classInputOf } from '../diffusion/latent_diffusion_spec.js';
import type { LatentDiffusion } from '../diffusion/latent_diffusion.js';
import type { SampleOptions } from '../diffusion/latent_sampling.js';
import { taskOf } from '../diffusion/task_of.js';
import { classIds } from './class_names.js';
import { defaultClassGuidance } from './class_to_image.js';
import { readPrompts } from './prompts.js';

export interface WantedOptions {
  /**
   * what is to be seen, of a model that reads texts: a text for all pictures, or one for each. Default '': nothing
   * in particular
   */
  prompt?: string | readonly string[];
  /** what guidance leads away from, in the same way; default '' */
  negativePrompt?: string | readonly string[];
  /** the model's own, from `openTokenizer`; needed for texts */
  tokenizer?: TextTokenizer;
  /**
   * ids or names, of a model of classes: one for all pictures, or one for each; see {@link classIds}. Default: the
   * class that means "none"
   */
  classes?: readonly (number | string)[];
  /** names of the model's classes by their ids; needed where names are given */
  classNames?: readonly string[];
  /**
   * scale of classifier-free guidance. Default: 5 with texts, 3 with classes where one of them means "none"; where
   * nothing is asked for 1
   */
  guidance?: number;
}

/** What sampling is told of it. */
export type Told = Pick<SampleOptions, 'condition' | 'unconditional' | 'guidance'>;

/**
 * @internal Checks what is wanted of `count` pictures.
 * @param what begins error messages
 * @returns what makes its tensors
 * @throws ArgumentError when the model cannot be asked for it, or options do not go together
 */
export function readWanted(
  what: string,
  { spec, conditioner, betas }: LatentDiffusion,
  count: number,
  { prompt, negativePrompt, tokenizer, classes, classNames, guidance }: WantedOptions,
): () => Told {
  const { device } = betas;
  const forEach = <T>(entries: readonly T[]): readonly T[] =>
    entries.length === 1 ? new Array<T>(count).fill(entries[0]) : entries;
  const checkCount = (name: string, given: number) =>
    check(given === 1 || given === count, () => {
      return `${what}: give one ${name} for all pictures, or one for each of the ${count}. Got ${given}.`;
    });
  const asksTexts = prompt !== undefined || negativePrompt !== undefined;
  if (classes !== undefined) {
    check(!asksTexts, () => `${what}: a model is asked for texts or for classes, not for both.`);
    const ids = classIds(spec, classes, classNames);
    checkCount('class', ids.length);
    const scale = guidance ?? defaultClassGuidance(spec);
    return () => {
      return {
        guidance: scale,
        condition: tensor(BigInt64Array.from(forEach(ids), BigInt), { device }),
      };
    };
  }
  if (!asksTexts) return () => ({ guidance });
  check(textInputOf(conditioner), () => {
    return `${what}: the model is conditioned on ${taskOf(spec).condition} and reads no texts: leave the prompts out.`;
  });
  check(tokenizer, () => {
    return `${what}: texts need the model's tokenizer: give the one that openTokenizer opens.`;
  });
  const texts = { tokenizer, prompt: prompt ?? '', negativePrompt, guidance };
  const prompts = readPrompts(what, conditioner, texts);
  checkCount('prompt', prompts.count);
  return () => prompts.told(forEach, device);
}

/**
 * @internal What a model is told that is asked for nothing: the empty text, the class that means "none".
 *
 * @throws ArgumentError when there is no such thing
 */
export function nothingWanted(
  what: string,
  { spec, conditioner, betas }: LatentDiffusion,
  count: number,
): Tensor | undefined {
  if (conditioner.kind === 'none') return undefined;
  const ids = (...shape: number[]) => zeros(shape, { dtype: 'int64', device: betas.device });
  const classes = classInputOf(spec);
  if (classes) {
    const { unconditionalClass } = classes;
    check(unconditionalClass !== undefined, () => {
      return `${what}: say which class is to be made: none of the model's means "none".`;
    });
    return ids(count).add(unconditionalClass);
  }
  const texts = textInputOf(conditioner);
  const part = conditioner.kind === 'hybrid' ? conditioner.crossattn : conditioner;
  check(texts, () => {
    return `${what}: the model is told by embeddings or tokens of its own (conditioner ${part.kind}): give its condition.`;
  });
  return unconditionalInput(part, ids(count, texts.length));
}
