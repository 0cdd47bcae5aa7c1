// Any checkpoint file, told by its content: PyTorch's (zip or legacy) and safetensors.
import { check, FileError } from '../errors.js';
import type { DType } from '../dtype.js';
import type { Tensor } from '../tensor.js';
import { readBytes, withFile } from './positional.js';
import { readSafetensors } from './safetensors.js';
import type { StateReader } from './state.js';
import { readArchive } from './torch/archive.js';
import { readLegacy } from './torch/legacy.js';
import { splitState } from './torch/state.js';
import type { CheckpointValue } from './torch/values.js';

/** Named tensors of a checkpoint, unread, and everything else that the file holds. */
export interface Checkpoint extends StateReader {
  /**
   * What the file holds beside the named tensors: counters, hyperparameters, states of optimizers. For
   * PyTorch's files a Map (or whatever single value was saved), in which further tensors are
   * `TensorRef` objects that `read()` makes; for safetensors a Map of its metadata.
   */
  readonly data: CheckpointValue;
  /** Ends reading: `get` throws from now on. Nothing is held open meanwhile. */
  close(): Promise<void>;
}

/**
 * Opens a checkpoint: `.ckpt`, `.pt` and `.pth` of PyTorch in either form, or safetensors. Only the
 * description is read; `get` then reads one tensor's bytes.
 *
 * ```ts
 * const checkpoint = await openCheckpoint('last.ckpt');
 * console.log(checkpoint.keys.length, checkpoint.data);
 * await model.importState(withPrefix(checkpoint, 'first_stage_model.'));
 * ```
 *
 * Tensors come in PyTorch's layout, contiguous. They are those under `state_dict`, without that prefix, or
 * all tensors of the file by dotted path if there is no `state_dict`. Nothing in a file is executed: of what
 * classes and functions beyond a short list of harmless ones would make, `data` has the names (`Opaque`), and a
 * tensor that is made by one is refused by key and name.
 *
 * @throws FileError with the byte offset when the file is damaged, of another format, or refused
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  const opened = await withFile(path, async (file, size) => {
    const start = await readBytes(path, file, 0, Math.min(size, 16));
    if (looksLikeSafetensors(start, size)) return null;
    if (start.length >= 4 && start.readUInt32LE(0) === 0x04034b50)
      return { value: await readArchive(path, file, size) };
    // PROTO with a version below 6, as every pickle since Python 2.3 begins
    if (start[0] === 0x80 && start[1] < 6) return { value: await readLegacy(path, file, size) };
    const beginning = start.toString('latin1');
    if (size > 0 && size < 1024 && lfsPointer.startsWith(beginning))
      throw new FileError(
        'a pointer of Git LFS that stands for the checkpoint: fetch the file itself with `git lfs pull`.',
        path,
        0,
      );
    const begin = JSON.stringify(beginning);
    const text = `neither a checkpoint of PyTorch nor safetensors: it has ${size} bytes`;
    throw new FileError(`${text} and begins with ${begin}.`, path, 0);
  });
  if (opened) {
    const { state, data } = splitState(path, opened.value);
    return new OpenCheckpoint(state, data);
  }
  const file = await readSafetensors(path);
  return new OpenCheckpoint(file, new Map(file.metadata));
}

const lfsPointer = 'version https://git-lfs.github.com/spec/v1';

function looksLikeSafetensors(start: Buffer, fileBytes: number): boolean {
  if (start.length < 9 || start[8] !== 0x7b /* { */) return false;
  // A damaged length still counts as safetensors, unless a pickle begins with it.
  return start[0] !== 0x80 || start.readBigUInt64LE() <= BigInt(fileBytes);
}

/** A reader that can be closed, with data beside it. */
class OpenCheckpoint implements Checkpoint {
  #closed = false;

  constructor(
    readonly reader: StateReader,
    readonly data: CheckpointValue,
  ) {}

  get origin(): string {
    return this.reader.origin;
  }

  get keys(): readonly string[] {
    return this.reader.keys;
  }

  has(key: string): boolean {
    return this.reader.has(key);
  }

  info(key: string): { readonly shape: readonly number[]; readonly dtype: DType } {
    return this.reader.info(key);
  }

  async get(key: string): Promise<Tensor> {
    check(!this.#closed, () => `openCheckpoint: ${this.origin} was closed; open it again.`);
    return this.reader.get(key);
  }

  close(): Promise<void> {
    this.#closed = true;
    return Promise.resolve();
  }
}
