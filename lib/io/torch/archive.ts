// PyTorch's zip form (since 1.6): `data.pkl` beside one stored entry for each storage.
import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { FileError } from '../../errors.js';
import { identityOf, readBytes, readInto, withSameFile } from '../positional.js';
import { contentOf, readEntry, readZipDirectory, verifyChecksum, type ZipEntry } from '../zip.js';
import { PickleBytes } from './pickle_bytes.js';
import { parseStorageId } from './storage_id.js';
import { StorageRef, type StorageFile } from './tensor_ref.js';
import { unpickle } from './unpickler.js';
import type { CheckpointValue } from './values.js';

// Some hundred bytes for each tensor are usual; what is larger is no checkpoint.
const largestPickle = 64 * 1024 * 1024;

// Checksums are computed over pieces of this size.
const pieceBytes = 1024 * 1024;

/** Reads the pickle of an archive; its storages are read when a tensor asks for them. */
export async function readArchive(
  path: string,
  file: FileHandle,
  fileBytes: number,
): Promise<CheckpointValue> {
  const entries = await readZipDirectory(path, file, fileBytes);
  refuseScript(path, [...entries.keys()]);
  for (const entry of entries.values()) checkStored(path, entry);
  const root = rootOf(path, [...entries.keys()]);
  const order = entries.get(`${root}/byteorder`);
  const byteOrder = order ? (await readWhole(path, file, order)).toString() : 'little';
  if (byteOrder !== 'little' && byteOrder !== 'big')
    throw new FileError('the byteorder is neither little nor big.', path, order?.begin);
  const entry = entries.get(`${root}/data.pkl`)!;
  const pickle = await readWhole(path, file, entry);
  const archive = new Archive(
    path,
    fileBytes,
    await identityOf(file),
    entries,
    root,
    byteOrder === 'little',
  );
  const bytes = new PickleBytes(path, pickle, await contentOf(path, file, entry));
  return unpickle(bytes, (id) => archive.storage(id));
}

function rootOf(path: string, names: readonly string[]): string {
  const roots = names.filter((name) => name.endsWith('/data.pkl')).map((name) => name.slice(0, -9));
  if (roots.length === 1) return roots[0];
  if (roots.length > 1)
    throw new FileError(`the archive holds ${roots.length} checkpoints in one.`, path);
  throw new FileError('a zip archive, but no checkpoint: it has no data.pkl.', path);
}

// These are zip archives too, and most of their entries are compressed programs.
function refuseScript(path: string, names: readonly string[]): void {
  if (!names.some((name) => name.endsWith('/constants.pkl'))) return;
  throw new FileError(
    'a TorchScript archive: a program with its tensors. Load it with torch.jit.load and save its state_dict() ' +
      'with torch.save.',
    path,
  );
}

async function readWhole(path: string, file: FileHandle, entry: ZipEntry): Promise<Buffer> {
  if (entry.size > largestPickle)
    throw new FileError(`${entry.name} of ${entry.size} bytes is too large.`, path, entry.begin);
  return readEntry(path, file, entry);
}

// Parts of storages are read without the rest, which only stored entries allow.
function checkStored(path: string, { name, deflated, begin }: ZipEntry): void {
  if (!deflated) return;
  const entry = `the entry ${JSON.stringify(name)} is compressed (method 8)`;
  const remedy = 'unpack the archive and pack it again with `zip -0`';
  throw new FileError(`${entry}, which PyTorch never does; ${remedy}.`, path, begin);
}

class Archive implements StorageFile {
  /** Storages whose checksum has been compared. */
  readonly #verified = new Set<string>();

  constructor(
    readonly path: string,
    readonly bytes: number,
    private readonly identity: string,
    private readonly entries: ReadonlyMap<string, ZipEntry>,
    private readonly root: string,
    readonly little: boolean,
  ) {}

  storage(id: CheckpointValue): StorageRef {
    const { key, type, count } = parseStorageId(id);
    const entry = this.#entry(key);
    if (!entry) throw new RangeError(`the archive has no storage ${JSON.stringify(key)}`);
    if (entry.size !== count * type.bytes) {
      const text = `the storage ${key} has ${entry.size} bytes`;
      throw new RangeError(`${text}, but ${count} elements of ${type.name} are declared`);
    }
    return new StorageRef(this, key, type, count);
  }

  async read({ key }: StorageRef, begin: number, into: Uint8Array): Promise<void> {
    const entry = this.#entry(key)!;
    await withSameFile(this.path, this.identity, async (file) => {
      const content = await contentOf(this.path, file, entry);
      // The checksum belongs to the whole storage: the first tensor of it reads the rest along.
      const check = entry.crc !== 0 && !this.#verified.has(key);
      let crc = check ? await this.#checksum(file, content, content + begin, 0) : 0;
      await readInto(this.path, file, content + begin, into);
      if (!check) return;
      // In pieces: zlib takes lengths of 32 bits.
      for (let at = 0; at < into.byteLength; at += pieceBytes)
        crc = crc32(into.subarray(at, at + pieceBytes), crc);
      const end = content + begin + into.byteLength;
      verifyChecksum(this.path, entry, await this.#checksum(file, end, content + entry.size, crc));
      this.#verified.add(key);
    });
  }

  async #checksum(file: FileHandle, begin: number, end: number, crc: number): Promise<number> {
    for (let at = begin; at < end; at += pieceBytes) {
      const length = Math.min(pieceBytes, end - at);
      crc = crc32(await readBytes(this.path, file, at, length), crc);
    }
    return crc;
  }

  #entry(key: string): ZipEntry | undefined {
    return this.entries.get(`${this.root}/data/${key}`);
  }
}
