/** What tells one tokenizer of a kind from another: its pieces of words, and how these are joined. */
import { ArgumentError } from '../../../errors.js';

/** WordPiece as bert-base has it. */
export interface BertVocabulary {
  readonly kind: 'bert';
  /** Ids by piece, 0 to size - 1; pieces inside a word begin with `##`. */
  readonly pieces: ReadonlyMap<string, number>;
  /** Whether texts are lower-cased and lose their accents. */
  readonly uncased: boolean;
}

/** Byte-pair encoding as CLIP has it: lower-cased, `</w>` at the end of each word. */
export interface ClipVocabulary {
  readonly kind: 'clip';
  /** Ids by piece, 0 to size - 1; the last two begin and end a text. */
  readonly pieces: ReadonlyMap<string, number>;
  /** Pairs of pieces that become one, the first first. */
  readonly merges: readonly (readonly [string, string])[];
}

export type TextVocabulary = BertVocabulary | ClipVocabulary;

/** The special pieces of bert-base-uncased, whose ids every vocabulary of the kind has here. */
export const bertSpecials = { '[PAD]': 0, '[UNK]': 100, '[CLS]': 101, '[SEP]': 102, '[MASK]': 103 };

/** What begins and ends a text of CLIP. */
export const clipSpecials = ['<|startoftext|>', '<|endoftext|>'] as const;

/**
 * Checks a vocabulary from outside.
 *
 * @throws ArgumentError when ids are missing or taken twice, or special pieces are not where the models expect
 *   them
 */
export function checkVocabulary(vocabulary: TextVocabulary): void {
  const { kind, pieces } = vocabulary;
  const fail = (text: string): never => {
    throw new ArgumentError(`tokenizer of kind ${kind}: ${text}`);
  };
  const size = pieces.size;
  const seen = new Uint8Array(size);
  for (const [piece, id] of pieces) {
    if (!(Number.isInteger(id) && id >= 0 && id < size))
      fail(`the ids of ${size} pieces must be 0 to ${size - 1}. '${piece}' has ${String(id)}.`);
    if (seen[id]++ > 0) fail(`the id ${id} of '${piece}' is taken twice.`);
  }
  const specials =
    kind === 'bert'
      ? Object.entries(bertSpecials)
      : clipSpecials.map((piece, i) => [piece, size - 2 + i] as const);
  for (const [piece, id] of specials)
    if (pieces.get(piece) !== id)
      fail(
        `'${piece}' must have the id ${id}, as the models expect. Got ${pieces.get(piece) ?? 'no such piece'}.`,
      );
}

/** Pieces of bert-base-uncased's layout: its special ones at their ids, unused ones between, then these words. */
export function bertPieces(words: readonly string[]): Map<string, number> {
  const byId = new Map(Object.entries(bertSpecials).map(([piece, id]) => [id, piece]));
  const first = bertSpecials['[MASK]'] + 1;
  const begin = Array.from({ length: first }, (_, id) => byId.get(id) ?? `[unused${id - 1}]`);
  return new Map([...begin, ...words].map((piece, id) => [piece, id]));
}

/**
 * A vocabulary in the form of Hugging Face's `tokenizer.json`, with the pipeline that belongs to its kind: a file
 * decides pieces and merges here, never which code runs on a text.
 */
export function tokenizerJson(vocabulary: TextVocabulary): object {
  const { kind, pieces } = vocabulary;
  const vocab = Object.fromEntries(pieces);
  const specials = kind === 'bert' ? Object.keys(bertSpecials) : clipSpecials;
  const frame = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: specials.map((content) => ({
      id: pieces.get(content),
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
  };
  return kind === 'bert'
    ? { ...frame, ...bertPipeline(vocabulary), model: wordPiece(vocab) }
    : { ...frame, ...clipPipeline(pieces), model: bytePairs(vocab, vocabulary) };
}

function bertPipeline({ uncased }: BertVocabulary): object {
  const { '[CLS]': start, '[SEP]': end } = bertSpecials;
  return {
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: uncased,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: { type: 'BertProcessing', sep: ['[SEP]', end], cls: ['[CLS]', start] },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
  };
}

const wordPiece = (vocab: object): object => ({
  type: 'WordPiece',
  unk_token: '[UNK]',
  continuing_subword_prefix: '##',
  max_input_chars_per_word: 100,
  vocab,
});

// Contractions, letters, one digit at a time, and runs of anything else but space.
const clipWords = String.raw`'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`;

function clipPipeline(pieces: ReadonlyMap<string, number>): object {
  const [start, end] = clipSpecials;
  return {
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'NFC' },
        { type: 'Replace', pattern: { Regex: String.raw`\s+` }, content: ' ' },
        { type: 'Lowercase' },
      ],
    },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: clipWords }, behavior: 'Removed', invert: true },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true },
      ],
    },
    post_processor: {
      type: 'RobertaProcessing',
      sep: [end, pieces.get(end)],
      cls: [start, pieces.get(start)],
      trim_offsets: false,
      add_prefix_space: false,
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true },
  };
}

const bytePairs = (vocab: object, { merges }: ClipVocabulary): object => ({
  type: 'BPE',
  dropout: null,
  unk_token: '<|endoftext|>',
  continuing_subword_prefix: '',
  end_of_word_suffix: '</w>',
  fuse_unk: false,
  vocab,
  merges: merges.map((pair) => pair.join(' ')),
});
