// Pictures in tar archives, as webdataset packs them: files of one stem belong together.
import { check, FileError } from '../errors.js';
import { imageExtensions } from '../io/decode_image.js';
import type { Dataset, ImageItem } from './dataset.js';
import { readPart } from './file_bytes.js';
import { forEachMember } from './tar_index.js';

interface Part {
  begin: number;
  length: number;
}

interface Sample {
  shard: string;
  stem: string;
  image?: Part & { name: string };
  label?: number;
  text?: Part;
  json?: Part;
}

/** A class file holds a number and perhaps a line break. */
const largestLabel = 64;
const largestText = 2 ** 20;

/**
 * The pictures of one or several tar archives, in the archives' order. A picture's stem is its path up to the
 * first dot of its name; beside it may lie STEM.cls, its label, STEM.txt, its caption, and STEM.json.
 */
export class TarShards implements Dataset {
  readonly #samples: readonly Sample[];

  private constructor(samples: readonly Sample[]) {
    this.#samples = samples;
  }

  /**
   * Reads the headers of the archives and the labels, no picture. Archives are trusted to stay as they are.
   * @param paths of uncompressed archives, in the order in which they are to be read
   * @throws FileError with the byte offset where an archive is damaged, cut off or ambiguous
   */
  static async open(paths: string | readonly string[]): Promise<TarShards> {
    const shards = typeof paths === 'string' ? [paths] : paths;
    check(shards.length > 0, () => 'TarShards: give the path of at least one archive.');
    const samples: Sample[] = [];
    for (const shard of shards) for (const sample of await readShard(shard)) samples.push(sample);
    if (samples.length === 0) throw new FileError('there is no picture in it.', shards[0]);
    const bare = samples.find(({ label }) => label === undefined);
    if (bare && samples.some(({ label }) => label !== undefined))
      throw new FileError(`${JSON.stringify(bare.stem)} has no label, others have.`, bare.shard);
    return new TarShards(samples);
  }

  get length(): number {
    return this.#samples.length;
  }

  item(index: number): ImageItem {
    const { shard, image, label } = this.#samples[index];
    const { name, begin, length } = image!;
    return { path: `${shard}:${name}`, source: { file: shard, begin, length }, label };
  }

  /** The picture's caption, or undefined. */
  async text(index: number): Promise<string | undefined> {
    const { shard, text } = this.#samples[index];
    return text && (await readText(shard, text));
  }

  /**
   * What lies beside the picture as JSON, or undefined.
   * @throws FileError when it is no JSON
   */
  async json(index: number): Promise<unknown> {
    const { shard, json } = this.#samples[index];
    if (!json) return undefined;
    try {
      return JSON.parse(await readText(shard, json)) as unknown;
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      throw new FileError(`is no JSON: ${error.message}.`, shard, json.begin);
    }
  }
}

async function readShard(shard: string): Promise<Sample[]> {
  const samples = new Map<string, Sample>();
  await forEachMember(shard, async ({ name, begin, length }, read) => {
    // Up to the first dot of the last part, as webdataset has it.
    const match = /^((?:.*\/)?[^./][^./]*)(\.[^/]*)$/s.exec(name);
    if (!match) return;
    const stem = match[1];
    const extension = match[2].toLowerCase();
    const kind = pictures.has(extension) ? 'image' : sideKinds[extension];
    if (kind === undefined) return;
    const sample = samples.get(stem) ?? { shard, stem };
    samples.set(stem, sample);
    if (sample[kind] !== undefined)
      throw new FileError(`there is a second ${kind} for ${JSON.stringify(stem)}.`, shard, begin);
    if (kind === 'label') {
      const text = length <= largestLabel ? (await read()).toString().trim() : '';
      if (!/^\d{1,9}$/.test(text))
        throw new FileError(`${JSON.stringify(name)} holds no class number.`, shard, begin);
      sample.label = Number(text);
    } else sample[kind] = { begin, length, name };
  });
  return [...samples.values()].filter(({ image }) => image !== undefined);
}

// In shards arrays are features that lie beside a picture, not pictures.
const pictures = new Set([...imageExtensions].filter((extension) => extension !== '.npy'));

const sideKinds: Readonly<Record<string, 'label' | 'text' | 'json'>> = {
  '.cls': 'label',
  '.txt': 'text',
  '.json': 'json',
};

async function readText(shard: string, { begin, length }: Part): Promise<string> {
  if (length > largestText)
    throw new FileError(`${length} bytes are too many for a caption.`, shard, begin);
  return (await readPart(shard, begin, length)).toString();
}
