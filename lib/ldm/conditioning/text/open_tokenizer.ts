/** The tokenizer that belongs to a conditioner. */
import { check } from '../../../errors.js';
import { textInputOf, type ConditionerSpec } from '../conditioner.js';
import { TextTokenizer, type TextTokenizerOptions } from './tokenizer.js';

/**
 * Opens the tokenizer of a model that is conditioned on text, for texts as long as its encoder takes.
 *
 * @param path of its files, or of the saved model's folder
 * @throws FileError when there is none or it is damaged; ArgumentError when it is not the conditioner's
 */
export async function openTokenizer(
  path: string,
  conditioner: ConditionerSpec | undefined,
  options: Omit<TextTokenizerOptions, 'length'> = {},
): Promise<TextTokenizer> {
  const length = textInputOf(conditioner)?.length;
  const tokenizer = await TextTokenizer.open(path, { ...options, length });
  checkTokenizer(tokenizer, conditioner);
  return tokenizer;
}

/** @throws ArgumentError when the conditioner reads no texts, or ids of another tokenizer */
export function checkTokenizer(
  { kind, vocabSize, length }: TextTokenizer,
  conditioner: ConditionerSpec | undefined,
): void {
  const input = textInputOf(conditioner);
  check(input, () => {
    const kind = conditioner?.kind ?? 'none';
    return kind === 'bert'
      ? 'tokenizer: the conditioner is told by tokens of layouts (useTokenizer: false) and reads no texts.'
      : `tokenizer: a conditioner of kind ${kind} reads no texts.`;
  });
  check(kind === input.kind, () => {
    return `tokenizer: the conditioner reads ids of ${input.kind}, and the tokenizer is of kind ${kind}.`;
  });
  // The last ids of CLIP begin and end a text: there must be neither fewer nor more.
  const fits = kind === 'clip' ? vocabSize === input.vocabSize : vocabSize <= input.vocabSize;
  check(fits, () => {
    return (
      `tokenizer: it has ${vocabSize} ids, and the conditioner knows ${input.vocabSize} (vocabSize; in a ` +
      'configuration vocab_size).'
    );
  });
  check(length <= input.length, () => {
    return `tokenizer: it makes ${length} ids of a text, and the conditioner reads ${input.length} (maxSeqLen).`;
  });
}
