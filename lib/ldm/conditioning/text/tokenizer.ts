/** Texts as the token ids that text encoders read (paper, appendix E.2.1; CLIP's as Stable Diffusion uses them). */
import { Tokenizer } from '@huggingface/tokenizers';
import { tensor } from '../../../creation.js';
import type { Device } from '../../../device.js';
import { ArgumentError, check } from '../../../errors.js';
import type { Tensor } from '../../../tensor.js';
import {
  bertPieces,
  bertSpecials,
  checkVocabulary,
  tokenizerJson,
  type TextVocabulary,
} from './vocabulary.js';
import { readVocabulary, writeVocabulary } from './vocabulary_files.js';

export interface TextTokenizerOptions {
  /** ids of every text, its begin, end and padding among them; default 77 */
  length?: number;
  /**
   * What fills up a text of CLIP: its end once more, as the encoder of Stable Diffusion wants it, or zeros, as
   * OpenAI's own encoder does. Default 'end'; BERT always has zeros
   */
  padding?: 'end' | 'zeros';
  /** a text that does not fit loses its end, with a warning, or is refused, as by OpenAI's. Default 'truncate' */
  tooLong?: 'truncate' | 'throw';
  /** told of each text that loses its end; default: console.warn */
  warn?: (message: string) => void;
}

/** What a vocabulary of words is made by. */
export interface WordVocabularyOptions extends TextTokenizerOptions {
  /** words that the texts have less often are unknown; default 1 */
  minCount?: number;
  /** at most this many words, the frequent ones; default: all */
  maxWords?: number;
}

/**
 * BERT's WordPiece or CLIP's byte pairs: the same ids as the original's.
 *
 * ```ts
 * const tokenizer = await TextTokenizer.open('bert-base-uncased/vocab.txt');
 * const ids = tokenizer.encode(['a red fox', '']); // int64 [2, 77]
 * ```
 */
export class TextTokenizer {
  readonly length: number;
  readonly #words: Tokenizer;
  readonly #options: Required<Omit<TextTokenizerOptions, 'length'>>;
  readonly #start: number;
  readonly #end: number;

  /** @throws ArgumentError for a vocabulary that no model here reads */
  constructor(
    readonly vocabulary: TextVocabulary,
    options: TextTokenizerOptions = {},
  ) {
    const { length = 77, padding, tooLong = 'truncate', warn = console.warn } = options;
    checkVocabulary(vocabulary);
    const { kind, pieces } = vocabulary;
    check(Number.isInteger(length) && length >= 2 && length <= 2 ** 20, () => {
      return `TextTokenizer: length must be an integer from 2 to ${2 ** 20}. Got ${length}.`;
    });
    check(kind === 'clip' || padding !== 'end', () => {
      return "TextTokenizer: a text of BERT is filled up with zeros; padding 'end' is CLIP's.";
    });
    this.length = length;
    this.#options = { padding: padding ?? (kind === 'clip' ? 'end' : 'zeros'), tooLong, warn };
    this.#words = new Tokenizer(tokenizerJson(vocabulary), {});
    [this.#start, this.#end] =
      kind === 'bert'
        ? [bertSpecials['[CLS]'], bertSpecials['[SEP]']]
        : [pieces.size - 2, pieces.size - 1];
  }

  /** Reads the files of a published tokenizer, or of a saved model's folder; see {@link readVocabulary}. */
  static async open(path: string, options: TextTokenizerOptions = {}): Promise<TextTokenizer> {
    return new TextTokenizer(await readVocabulary(path), options);
  }

  /**
   * A small tokenizer of BERT's kind that knows the words of these texts, for models that are trained on them.
   * Other words are [UNK].
   */
  static fromTexts(texts: readonly string[], options: WordVocabularyOptions = {}): TextTokenizer {
    const { minCount = 1, maxWords = Infinity, ...rest } = options;
    const splitter = new Tokenizer(
      tokenizerJson({ kind: 'bert', pieces: bertPieces([]), uncased: true }),
      {},
    );
    const counts = new Map<string, number>();
    for (const text of texts)
      for (const word of splitter.pre_tokenizer!(splitter.normalizer!(text)))
        counts.set(word, (counts.get(word) ?? 0) + 1);
    const words = [...counts]
      .filter(([, count]) => count >= minCount)
      .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
      .slice(0, maxWords)
      .map(([word]) => word);
    return new TextTokenizer({ kind: 'bert', pieces: bertPieces(words), uncased: true }, rest);
  }

  get kind(): TextVocabulary['kind'] {
    return this.vocabulary.kind;
  }

  /** Number of different ids: what an embedder's `vocabSize` must at least be. */
  get vocabSize(): number {
    return this.vocabulary.pieces.size;
  }

  /** Exactly `length` ids of a text. @throws ArgumentError when it is too long and may not be cut */
  ids(text: string): number[] {
    const pieces = this.#words.encode(text, { add_special_tokens: false }).ids;
    const room = this.length - 2;
    if (pieces.length > room) this.#tooLong(text, pieces, room);
    const ids = [this.#start, ...pieces.slice(0, room), this.#end];
    const filling = this.#options.padding === 'end' ? this.#end : 0;
    return [...ids, ...new Array<number>(this.length - ids.length).fill(filling)];
  }

  /** What ids say, without begin, end and padding: the text as its pieces spell it. */
  text(ids: readonly number[]): string {
    const from = ids[0] === this.#start ? 1 : 0;
    const end = ids.indexOf(this.#end, from);
    const pieces = ids.slice(from, end < 0 ? undefined : end);
    const spelt = pieces.length === 0 ? '' : this.#words.decode(pieces);
    return spelt.replaceAll('</w>', ' ').trim();
  }

  /** Ids of texts, int64 [N, length]. Of one that comes several times it is told once that it is too long. */
  encode(texts: readonly string[], { device }: { device?: Device } = {}): Tensor {
    const rows = new Map([...new Set(texts)].map((text) => [text, this.ids(text)]));
    const ids = BigInt64Array.from(
      texts.flatMap((text) => rows.get(text)!),
      BigInt,
    );
    return tensor(ids, { shape: [texts.length, this.length], device });
  }

  /** Writes `tokenizer.json` into a model's folder, beside its `config.json`. */
  async save(folder: string): Promise<void> {
    await writeVocabulary(folder, this.vocabulary);
  }

  #tooLong(text: string, pieces: readonly number[], room: number): void {
    const shown = text.length > 80 ? `${text.slice(0, 80)}...` : text;
    const long = `the text has ${pieces.length} tokens, and ${room} fit: '${shown}'.`;
    if (this.#options.tooLong === 'throw')
      throw new ArgumentError(`TextTokenizer: ${long} Shorten it.`);
    const lost = this.#words.decode(pieces.slice(room));
    const left = lost.length > 80 ? `${lost.slice(0, 80)}...` : lost;
    this.#options.warn(`${long} What comes too late is left out: '${left}'.`);
  }
}
