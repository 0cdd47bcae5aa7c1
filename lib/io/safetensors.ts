// Reading and writing safetensors files: a checked JSON header, then the tensors' raw bytes.
import { check, FileError } from '../errors.js';
import type { DType } from '../dtype.js';
import type { Tensor } from '../tensor.js';
import { writeFileAtomic, type Content } from './atomic.js';
import { identityOf, readBytes, withFile, withSameFile } from './positional.js';
import {
  dtypeOf,
  encodeHeader,
  headerLength,
  prefixBytes,
  type Header,
} from './safetensors_format.js';
import { parseHeader } from './safetensors_header.js';
import type { StateReader, TensorSource } from './state.js';
import { bytesOf, tensorOf } from './tensor_bytes.js';

/**
 * Opens a safetensors file: reads and verifies its header, but none of its tensors.
 *
 * ```ts
 * const file = await readSafetensors('model.safetensors');
 * console.log(file.keys, file.metadata.get('format'));
 * const weight = await file.get('decoder.conv_in.weight');
 * ```
 *
 * Tensors come as the file holds them, that is for PyTorch's files in PyTorch's layout.
 *
 * @throws FileError with the byte offset when the file breaks the format in any way
 */
export async function readSafetensors(path: string): Promise<SafetensorsFile> {
  return withFile(path, async (file, size) => {
    if (size < prefixBytes) {
      throw new FileError(`${size} bytes are too few for a safetensors file.`, path, 0);
    }
    const length = headerLength(path, await readBytes(path, file, 0, prefixBytes), size);
    const bytes = await readBytes(path, file, prefixBytes, length);
    const header = parseHeader(path, bytes, prefixBytes + length, size);
    return new SafetensorsFile(path, header, await identityOf(file));
  });
}

/** A verified safetensors file. It holds nothing open: each `get` opens the file for its own bytes. */
export class SafetensorsFile implements StateReader {
  readonly keys: readonly string[];
  /** The strings stored beside the tensors. */
  readonly metadata: ReadonlyMap<string, string>;
  readonly #tensors: Header['tensors'];
  readonly #identity: string;

  /** @internal use {@link readSafetensors} */
  constructor(
    readonly origin: string,
    header: Header,
    fileIdentity: string,
  ) {
    this.keys = [...header.tensors.keys()];
    this.metadata = header.metadata;
    this.#tensors = header.tensors;
    this.#identity = fileIdentity;
  }

  has(key: string): boolean {
    return this.#tensors.has(key);
  }

  info(key: string): { readonly shape: readonly number[]; readonly dtype: DType } {
    const info = this.#find(key);
    return { shape: info.shape, dtype: dtypeOf(this.origin, key, info) };
  }

  async get(key: string): Promise<Tensor> {
    const { begin, end } = this.#find(key);
    const { shape, dtype } = this.info(key);
    return withSameFile(this.origin, this.#identity, async (file) =>
      tensorOf(await readBytes(this.origin, file, begin, end - begin), shape, dtype),
    );
  }

  #find(key: string) {
    const info = this.#tensors.get(key);
    check(info, () => {
      const names = this.keys.slice(0, 5).join(', ') + (this.keys.length > 5 ? ', ...' : '');
      return `readSafetensors: ${this.origin} has no tensor ${JSON.stringify(key)}. It has ${names}.`;
    });
    return info;
  }
}

type NamedTensors =
  ReadonlyMap<string, Tensor | TensorSource> | Readonly<Record<string, Tensor | TensorSource>>;

/**
 * Writes tensors as a safetensors file, atomically: `path` holds the old file or the complete new one.
 * Tensors are read and written one after the other, so that one of them is in memory twice at most.
 * The same tensors give the same bytes, in whatever order they come.
 *
 * @param tensors by name; a source instead of a tensor is made when its turn comes, then disposed
 * @param metadata strings to keep beside the tensors
 */
export async function writeSafetensors(
  path: string,
  tensors: NamedTensors,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  await writeFileAtomic(path, safetensorsContent(tensors, metadata));
}

/** What {@link writeSafetensors} writes, for files that come together with others. */
export function safetensorsContent(
  tensors: NamedTensors,
  metadata: Readonly<Record<string, string>> = {},
): Content {
  const byName = tensors instanceof Map ? tensors : new Map(Object.entries(tensors));
  for (const name of byName.keys()) {
    check(name !== '__metadata__', () => 'writeSafetensors: the name "__metadata__" is reserved.');
  }
  const { header, order } = encodeHeader(byName, metadata);
  return async (append) => {
    await append(header);
    for (const name of order) await append(await contents(name, byName.get(name)!));
  };
}

async function contents(name: string, source: Tensor | TensorSource): Promise<Uint8Array> {
  if (!('read' in source)) return bytesOf(source);
  const made = await source.read();
  try {
    const [given, described] = [made, source].map(
      ({ dtype, shape }) => `${dtype} [${shape.join(', ')}]`,
    );
    check(given === described, () => {
      return `writeSafetensors: ${JSON.stringify(name)} was described as ${described}, but its source read ${given}.`;
    });
    return await bytesOf(made);
  } finally {
    made.dispose();
  }
}
