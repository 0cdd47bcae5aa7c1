// PyTorch's form before 1.6: a stream of pickles (magic number, protocol, system, the object, the keys of its
// storages), then the storages, each with its number of elements in front.
import type { FileHandle } from 'node:fs/promises';
import { FileError } from '../../errors.js';
import { identityOf, readBytes, readInto, withSameFile } from '../positional.js';
import { PickleBytes } from './pickle_bytes.js';
import { parseStorageId } from './storage_id.js';
import { StorageRef, type StorageFile } from './tensor_ref.js';
import { unpickle } from './unpickler.js';
import type { CheckpointValue } from './values.js';

const magicNumber = 0x1950a86a20f9469cfc6cn;
const protocolVersion = 1001;

// The pickles' length is not known beforehand: a piece of the file is read, and a larger one if they go on.
const firstWindow = 1024 * 1024;
const largestWindow = 64 * 1024 * 1024;

/** Reads the pickles of a legacy file; its storages are read when a tensor asks for them. */
export async function readLegacy(
  path: string,
  file: FileHandle,
  fileBytes: number,
): Promise<CheckpointValue> {
  for (let window = Math.min(firstWindow, fileBytes); ; window = Math.min(4 * window, fileBytes)) {
    const bytes = new PickleBytes(path, await readBytes(path, file, 0, window), 0);
    const stream = new LegacyStream(path, fileBytes, await identityOf(file));
    let value: CheckpointValue;
    try {
      value = stream.parse(bytes);
    } catch (error) {
      if (bytes.isCutOff && window < Math.min(fileBytes, largestWindow)) continue;
      throw error;
    }
    await stream.locate(file, bytes.position);
    return value;
  }
}

class LegacyStream implements StorageFile {
  little = true;
  readonly #storages = new Map<string, StorageRef>();
  readonly #positions = new Map<string, number>();
  #keys: string[] = [];

  constructor(
    readonly path: string,
    readonly bytes: number,
    private readonly identity: string,
  ) {}

  parse(bytes: PickleBytes): CheckpointValue {
    const plain = () => unpickle(bytes, () => refuseId());
    if (plain() !== magicNumber) bytes.fail('a pickle, but no checkpoint of PyTorch');
    const version = plain();
    if (version !== protocolVersion) bytes.fail(`its protocol is not ${protocolVersion}`);
    const system = plain();
    if (!(system instanceof Map)) return bytes.fail('the description of the system is missing');
    this.little = system.get('little_endian') !== false;
    const value = unpickle(bytes, (id) => this.#storage(id));
    const keys = plain();
    const known = Array.isArray(keys) && keys.every((key) => this.#storages.has(key as string));
    if (!known || new Set(keys).size !== this.#storages.size || keys.length !== this.#storages.size)
      return bytes.fail('the list of storages does not match the tensors');
    this.#keys = keys as string[];
    return value;
  }

  /** Walks over the storages from `begin` on and compares their lengths with what the pickle says. */
  async locate(file: FileHandle, begin: number): Promise<void> {
    let at = begin;
    for (const key of this.#keys) {
      const { count, type } = this.#storages.get(key)!;
      if (this.bytes - at < 8) this.#cutOff(key, at);
      const stored = (await readBytes(this.path, file, at, 8)).readBigInt64LE();
      if (stored !== BigInt(count)) {
        const text = `the storage ${key} has ${stored} elements where ${count} are declared.`;
        throw new FileError(text, this.path, at);
      }
      this.#positions.set(key, at + 8);
      at += 8 + count * type.bytes;
      if (at > this.bytes) this.#cutOff(key, this.bytes);
    }
  }

  async read({ key }: StorageRef, begin: number, into: Uint8Array): Promise<void> {
    const position = this.#positions.get(key)! + begin;
    await withSameFile(this.path, this.identity, (file) =>
      readInto(this.path, file, position, into),
    );
  }

  #storage(id: CheckpointValue): StorageRef {
    const { key, type, count } = parseStorageId(id);
    const known = this.#storages.get(key);
    if (known && (known.type !== type || known.count !== count))
      throw new RangeError(`the storage ${key} is declared in two ways`);
    const storage = known ?? new StorageRef(this, key, type, count);
    this.#storages.set(key, storage);
    return storage;
  }

  #cutOff(key: string, at: number): never {
    throw new FileError(`the file ends inside of storage ${key}; fetch it again.`, this.path, at);
  }
}

function refuseId(): never {
  throw new RangeError('a persistent id stands where none is expected');
}
