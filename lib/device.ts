import { addon, type EngineInfo, type MemoryStats } from './native.js';
import { check, DeviceError } from './errors.js';

/** A place where tensors live and operations run: an in-order queue with a caching allocator. */
export class Device {
  /** @internal */
  constructor(
    readonly name: string,
    /** @internal Position in the engine's list. */
    readonly index: number,
  ) {}

  /**
   * Resolves when everything enqueued so far has run. Rejects with the first fault that an operation met
   * since the last read; the message names the operation.
   */
  async synchronize(): Promise<void> {
    await addon.synchronize(this.index);
  }

  /** As {@link synchronize}, blocking the event loop: for scripts. */
  synchronizeSync(): void {
    addon.synchronizeSync(this.index);
  }

  /** Live, peak and cached bytes of this device. */
  memoryStats(): MemoryStats {
    return addon.memoryStats(this.index);
  }

  /** Starts a new measurement of `peakBytes`. */
  resetPeak(): void {
    addon.resetPeak(this.index);
  }

  /** Returns the cached free blocks to the system. */
  emptyCache(): void {
    addon.emptyCache(this.index);
  }

  /**
   * Caps the memory that tensors and the cache hold together; Infinity lifts the cap. An allocation beyond it
   * throws an EmulsionError (`ERR_OUT_OF_MEMORY`) that lists the largest live blocks. What is live already stays.
   */
  setMemoryLimit(bytes: number): void {
    check(
      bytes === Infinity || (Number.isSafeInteger(bytes) && bytes >= 0),
      () => `setMemoryLimit: expected bytes >= 0 or Infinity, got ${bytes}`,
    );
    addon.setMemoryLimit(this.index, bytes === Infinity ? -1 : bytes);
  }

  toString(): string {
    return this.name;
  }
}

const all = addon.engine().devices.map((name, index) => new Device(name, index));
let standard = all.find(({ name }) => name.startsWith('cuda')) ?? all[0];

/** Every device of this machine that the engine can use; the first is the CPU. */
export const devices = (): readonly Device[] => all;

/**
 * A device by name, or the given device. Throws a DeviceError that lists the available ones.
 * @param name `'cpu'`, or the name of a GPU such as `'cuda:0'`.
 */
export function device(name: string | Device): Device {
  if (name instanceof Device) return name;
  const found = all.find((each) => each.name === name);
  if (!found)
    throw new DeviceError(
      `no device '${String(name)}'; available: ${all.map((d) => d.name).join(', ')}`,
    );
  return found;
}

/** Where tensors are made when no device is given: a GPU if there is one, else the CPU. */
export const defaultDevice = (): Device => standard;

/** Changes {@link defaultDevice} and returns it. */
export function setDefaultDevice(name: string | Device): Device {
  standard = device(name);
  return standard;
}

/** The engine's instruction-set levels, threads and devices. */
export const engineInfo = (): EngineInfo => addon.engine();

/**
 * Threads of the CPU engine, 1 to 256. Default: `EMULSION_NUM_THREADS`, else the number of cores. Waits
 * for running work.
 */
export function setNumThreads(count: number): void {
  check(
    Number.isInteger(count) && count >= 1 && count <= 256,
    () => `setNumThreads: expected 1 to 256, got ${count}`,
  );
  addon.setNumThreads(count);
}

/** How exactly matrix products of float32 tensors are computed; see {@link setFloat32MatmulPrecision}. */
export type Float32MatmulPrecision = 'highest' | 'high';

/**
 * Whether a GPU may multiply float32 matrices (products, linear layers, convolutions) on its tensor cores
 * with operands rounded to TF32: `'high'` is several times faster and keeps ten bits of each operand's
 * mantissa instead of 23; sums stay float32. `'highest'`, the default, multiplies in float32. Holds for the
 * whole process, for the operations called from here on. The CPU always computes in float32.
 */
export function setFloat32MatmulPrecision(precision: Float32MatmulPrecision): void {
  check(
    precision === 'highest' || precision === 'high',
    () =>
      `setFloat32MatmulPrecision: expected 'highest' or 'high', got ${JSON.stringify(precision)}`,
  );
  addon.tf32(precision === 'high');
}

/** What {@link setFloat32MatmulPrecision} was last given; `'highest'` at first. */
export const getFloat32MatmulPrecision = (): Float32MatmulPrecision =>
  addon.tf32() ? 'high' : 'highest';
