import { createRequire } from 'node:module';
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EmulsionError, nativeError } from './errors.js';
import type { TypedArray } from './dtype.js';

/** A live tensor of the native engine: slot and generation in one number. */
export type Id = number;

/** Recorded work of a device, by number. */
export type Graph = number;

/** The addon beside its kernels; see native/binding/addon.cc. */
export interface Addon {
  empty(device: number, dtype: number, ...shape: number[]): Id;
  view(id: Id, offset: number, ...shape: number[]): Id;
  release(id: Id): boolean;
  releaseCollected(id: Id): void;
  isShared(id: Id): boolean;
  write(id: Id, from: TypedArray): void;
  read<T extends TypedArray>(id: Id, into: T): Promise<T>;
  readSync(id: Id, into: TypedArray): void;
  transfer(from: Id, to: Id): void;
  synchronize(device: number): Promise<unknown>;
  synchronizeSync(device: number): void;
  memoryStats(device: number): MemoryStats;
  resetPeak(device: number): void;
  emptyCache(device: number): void;
  /** Negative bytes lift the limit. */
  setMemoryLimit(device: number, bytes: number): void;
  records(device: number): boolean;
  /** @param sharing a graph whose memory the recording uses as well; null: its own */
  beginCapture(device: number, sharing: Graph | 0): void;
  endCapture(): Graph;
  cancelCapture(): void;
  replay(graph: Graph): void;
  releaseGraph(graph: Graph): boolean;
  setNumThreads(count: number): void;
  tf32(allowed?: boolean): boolean;
  engine(): EngineInfo;
  setErrorFactory(make: (message: string, code: string) => Error): void;
}

/** Memory of one device, in bytes, and how many tensors hold it. */
export interface MemoryStats {
  /** Held by tensors now. */
  liveBytes: number;
  /** Highest `liveBytes` since the start or `resetPeak()`. */
  peakBytes: number;
  /** Free blocks that the allocator keeps for reuse. */
  cachedBytes: number;
  /** Free blocks that captured steps keep for their next run. */
  graphBytes: number;
  /** Blocks behind live tensors; views share one. */
  liveBlocks: number;
  /** Allocations since the start, cache hits included. */
  allocations: number;
  /** Tensor handles alive in this environment, over all devices. */
  tensors: number;
}

/** What the addon was built with and what it uses here. */
export interface EngineInfo {
  devices: string[];
  /** Instruction-set levels compiled in, in ascending order. */
  levels: string[];
  /** The level in use; `EMULSION_CPU_LEVEL` forces one. */
  level: string;
  threads: number;
  /**
   * Bytes of data caches that the CPU engine plans by: what a thread has for itself, and the last before memory, as
   * far as kernels make use of them (at most 4 and 64 MiB). `EMULSION_CPU_CACHES` says otherwise.
   */
  caches: { core: number; last: number };
  kernels: string[];
  /** Missing where the CUDA engine was not compiled in. */
  cuda?: CudaInfo;
}

/** What the CUDA engine was built for and what it finds here. */
export interface CudaInfo {
  /** GPU architectures compiled in: `'80,90a'`. */
  architectures: string;
  /** Of the CUDA runtime: 1000 · major + 10 · minor. */
  runtime: number;
  /** The newest version that the driver supports, likewise; 0 without a driver. */
  driver: number;
  /** Why no GPU can be asked; empty where they can. */
  reason: string;
  gpus: GpuInfo[];
}

export interface GpuInfo {
  name: string;
  /** 10 · major + minor. */
  capability: number;
  /** In bytes. */
  memory: number;
  /** Why the engine does not use it; empty where it does. */
  reason: string;
}

const require = createRequire(import.meta.url);

// The package's root: two levels up from lib/ in the sources, three from dist/lib/.
function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new EmulsionError('emulsion: no package.json above the library');
    folder = parent;
  }
  return folder;
}

function load(): Addon & Record<string, unknown> {
  const root = packageRoot();
  const override = process.env.EMULSION_ADDON;
  try {
    if (override) return require(resolve(override));
    const bindings = require('bindings') as (options: object) => Addon & Record<string, unknown>;
    return bindings({ bindings: 'emulsion', module_root: root });
  } catch (error) {
    throw new EmulsionError(
      `emulsion: the native engine could not be loaded for ${process.platform}-${process.arch}, ` +
        `Node ${process.version}. In a checkout run 'npm run build' in ${root} (needs CMake and a C++20 ` +
        `compiler). ${override ? `EMULSION_ADDON names ${override}. ` : ''}Reason: ${(error as Error).message}`,
      'ERR_ADDON',
      { cause: error },
    );
  }
}

export const addon: Addon & Record<string, unknown> = load();
addon.setErrorFactory(nativeError);

/** Names of kernels that some file of the library uses: a test compares them with the engine's table. */
export const usedKernels = new Set<string>();

/**
 * Declares the kernels that a file calls, with their types. Throws while the file is loaded if the engine
 * has no kernel of a name: sources and addon are then of different versions.
 */
export function native<Kernels>(...names: (keyof Kernels & string)[]): Kernels {
  const kernels: Record<string, unknown> = {};
  for (const name of names) {
    const kernel = addon[name];
    if (typeof kernel !== 'function')
      throw new EmulsionError(
        `emulsion: the native engine has no kernel '${name}'; it is older than the library: run 'npm run build'`,
        'ERR_ADDON',
      );
    kernels[name] = kernel;
    usedKernels.add(name);
  }
  return kernels as Kernels;
}
