// Captions as what pictures are conditioned on (paper, section 4.3.1).
import { tensor } from '../../creation.js';
import { FileError } from '../../errors.js';
import type { ConditionSource } from '../condition.js';
import { streams, uniforms } from '../philox.js';

/** What makes ids of texts, such as a `TextTokenizer`. */
export interface CaptionTokenizer {
  /** as many for every text */
  readonly length: number;
  ids(text: string): readonly number[];
  /** The text that ids were made of, as far as they tell. */
  text?(ids: readonly number[]): string;
  /** Writes its files into a model's folder. */
  save(folder: string): Promise<void>;
}

/** Token ids, int64 [N, length], of one of each picture's captions, drawn anew in every epoch. */
export function captionCondition(tokenizer: CaptionTokenizer): ConditionSource<readonly number[]> {
  return {
    sample({ item: { path, captions = [] }, key: { seed, epoch }, index }) {
      if (captions.length === 0) throw new FileError('the picture has no caption.', path);
      const [share] = uniforms(seed, streams.captions, epoch, index);
      return tokenizer.ids(captions[Math.floor(share * captions.length)]);
    },
    batch(samples, device) {
      const ids = BigInt64Array.from(samples.flat(), BigInt);
      return tensor(ids, { shape: [samples.length, tokenizer.length], device });
    },
    ...(tokenizer.text && {
      describe: (tokens: readonly (readonly number[])[]) =>
        tokens.map((ids) => tokenizer.text!(ids)),
    }),
    save: (folder) => tokenizer.save(folder),
  };
}
