/** Tokenizers on the disk, in the forms that published models come with. */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { FileError } from '../../../errors.js';
import { writeFileAtomic } from '../../../io/atomic.js';
import { fileError } from '../../../io/file_error.js';
import { readSmallFile } from '../../../io/positional.js';
import { checkVocabulary, tokenizerJson, type TextVocabulary } from './vocabulary.js';

// The largest in use, of a few hundred thousand pieces, take some ten megabytes.
const largest = 64 * 1024 * 1024;

/** @internal Where a tokenizer lies in a model's folder. */
export const tokenizerFile = 'tokenizer.json';

const files = {
  whole: tokenizerFile,
  words: 'vocab.txt',
  pairs: 'vocab.json',
  merges: 'merges.txt',
};

/**
 * Reads a vocabulary.
 *
 * @param path `tokenizer.json`; `vocab.txt` of BERT, a piece a line; `vocab.json` or `merges.txt` of CLIP, which
 *   belong together; or a folder with one of these
 * @throws FileError when there is none, or it is damaged or of a kind that no model here reads
 */
export async function readVocabulary(path: string): Promise<TextVocabulary> {
  const file = await locate(path);
  const vocabulary = await readers[kindOf(file)](file);
  try {
    checkVocabulary(vocabulary);
  } catch (error) {
    throw new FileError((error as Error).message, file);
  }
  return vocabulary;
}

/** Writes a vocabulary into a model's folder, as `tokenizer.json`. */
export async function writeVocabulary(folder: string, vocabulary: TextVocabulary): Promise<void> {
  const text = JSON.stringify(tokenizerJson(vocabulary), null, 1);
  await writeFileAtomic(join(folder, files.whole), `${text}\n`);
}

async function found(folder: string): Promise<string | undefined> {
  const names = await readdir(folder).catch((error: unknown) => {
    throw fileError(folder, 'cannot be listed', error);
  });
  return [files.whole, files.words, files.pairs].find((name) => names.includes(name));
}

async function locate(path: string): Promise<string> {
  const entry = await stat(path).catch((error: unknown) => {
    throw fileError(path, 'cannot be read', error);
  });
  if (!entry.isDirectory()) return path;
  const name = await found(path);
  if (name === undefined)
    throw new FileError(
      `the folder holds no tokenizer: expected ${files.whole}, ${files.words} (BERT), or ${files.pairs} with ` +
        `${files.merges} (CLIP).`,
      path,
    );
  return join(path, name);
}

type Kind = 'whole' | 'words' | 'pairs';

// By name where it is one of the usual ones, else by extension: 'bert-base-uncased-vocab.txt'.
function kindOf(file: string): Kind {
  const name = basename(file);
  if (name === files.pairs || name === files.merges) return 'pairs';
  if (name.endsWith('.json')) return 'whole';
  if (name.endsWith('.txt')) return 'words';
  throw new FileError(
    `is no tokenizer by its name: expected ${Object.values(files).join(', ')}.`,
    file,
  );
}

const readers: Readonly<Record<Kind, (file: string) => Promise<TextVocabulary>>> = {
  whole: async (file) => fromJson(await parsed(file), file),
  async words(file) {
    const lines = await linesOf(file);
    const pieces = new Map(lines.map((piece, id) => [piece, id]));
    if (pieces.size < lines.length) throw new FileError('has a piece on two lines.', file);
    return { kind: 'bert', pieces, uncased: true };
  },
  async pairs(file) {
    const [vocab, merges] = [files.pairs, files.merges].map((name) => join(dirname(file), name));
    // The first line names the format's version.
    const lines = (await linesOf(merges)).filter(
      (line) => line !== '' && !line.startsWith('#version'),
    );
    return {
      kind: 'clip',
      pieces: piecesOf(await parsed(vocab), vocab),
      merges: pairsOf(lines, merges),
    };
  },
};

async function linesOf(file: string): Promise<string[]> {
  const text = (await readSmallFile(file, largest, 'a tokenizer')).toString();
  const lines = text.split(/\r?\n/);
  return lines.at(-1) === '' ? lines.slice(0, -1) : lines;
}

async function parsed(file: string): Promise<unknown> {
  const text = (await readSmallFile(file, largest, 'a tokenizer')).toString();
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new FileError(`is no valid JSON: ${(error as Error).message}`, file);
  }
}

/** What of a `tokenizer.json` decides the ids of a text; all else belongs to its kind. */
interface Stored {
  normalizer?: { type?: unknown; lowercase?: unknown } | null;
  added_tokens?: unknown;
  model?: { type?: unknown; vocab?: unknown; merges?: unknown; end_of_word_suffix?: unknown };
}

function fromJson(json: unknown, file: string): TextVocabulary {
  const { model = {}, normalizer, added_tokens: added } = (json ?? {}) as Stored;
  const pieces = piecesOf(model?.vocab, file);
  const strange = (Array.isArray(added) ? (added as unknown[]) : [])
    .map((token) => (token as { content?: unknown } | null)?.content)
    .find((content) => typeof content !== 'string' || !pieces.has(content));
  if (strange !== undefined)
    throw new FileError(
      `adds the token ${JSON.stringify(strange)} to its vocabulary, which the models here have no row for.`,
      file,
    );
  if (model.type === 'WordPiece' && normalizer?.type === 'BertNormalizer')
    return { kind: 'bert', pieces, uncased: normalizer.lowercase !== false };
  if (model.type === 'BPE' && model.end_of_word_suffix === '</w>')
    return { kind: 'clip', pieces, merges: pairsOf(model.merges, file) };
  throw new FileError(
    `is a tokenizer of another kind (${String(model.type)}): expected WordPiece as BERT has it, or BPE as CLIP has it.`,
    file,
  );
}

function piecesOf(vocab: unknown, file: string): Map<string, number> {
  if (typeof vocab !== 'object' || vocab === null || Array.isArray(vocab))
    throw new FileError('is no tokenizer: its vocabulary must map pieces to ids.', file);
  return new Map(Object.entries(vocab) as [string, number][]);
}

// "a b", or in newer files ["a", "b"].
function pairsOf(merges: unknown, file: string): [string, string][] {
  const damaged = (entry: unknown): never => {
    throw new FileError(`a merge must be two pieces, got ${JSON.stringify(entry)}.`, file);
  };
  if (!Array.isArray(merges)) return damaged(merges);
  return merges.map((entry: unknown) => {
    const pair: unknown = typeof entry === 'string' ? entry.split(' ') : entry;
    const whole = Array.isArray(pair) && pair.length === 2;
    if (!whole || !pair.every((piece) => typeof piece === 'string' && piece !== ''))
      return damaged(entry);
    return pair as [string, string];
  });
}
