// Who prepares pictures: this thread with sharp's own pool, or worker threads.
import { availableParallelism } from 'node:os';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { ArgumentError, DisposedError, EmulsionError, FileError } from '../errors.js';
import type { ImageSource } from './dataset.js';
import { apart } from './pixels.js';
import { preparePicture, type Job } from './prepare.js';
import type { Square, TransformOptions } from './transform.js';
import type { Answer } from './worker.js';

/** Prepares pictures in the order in which they are asked for, several at once. */
export class Preparers {
  readonly #queue: Waiting[] = [];
  readonly #preparers: Preparer[];
  #disposed = false;

  /** @param workers threads; 0: sharp decodes in the process's pool, this thread does the rest */
  constructor(workers: number, transform: TransformOptions) {
    this.#preparers =
      workers === 0
        ? [inThisThread(transform)]
        : Array.from({ length: workers }, () => new WorkerThread(transform));
  }

  /**
   * The picture's square. Rejects with what {@link preparePicture} throws, or with the signal's reason if that
   * aborts before the work has begun.
   */
  run(job: Job, signal: AbortSignal): Promise<Square> {
    return new Promise((resolve, reject) => {
      if (this.#disposed) throw new DisposedError('DataLoader: it was disposed.');
      this.#queue.push({ job, signal, resolve, reject });
      this.#assign();
    });
  }

  /** Ends the threads; pictures under way are rejected. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    for (const { reject } of this.#queue.splice(0))
      reject(new DisposedError('DataLoader: it was disposed.'));
    await Promise.all(this.#preparers.map((preparer) => preparer.end()));
  }

  #assign(): void {
    while (this.#queue.length > 0) {
      const idlest = this.#preparers.reduce((a, b) => (b.busy < a.busy ? b : a));
      if (idlest.busy >= idlest.limit) return;
      const { job, signal, resolve, reject } = this.#queue.shift()!;
      if (signal.aborted) reject(signal.reason as Error);
      else
        idlest
          .prepare(job)
          .then(resolve, reject)
          .finally(() => this.#assign());
    }
  }
}

interface Waiting {
  job: Job;
  signal: AbortSignal;
  resolve: (square: Square) => void;
  reject: (error: Error) => void;
}

interface Preparer {
  /** Pictures under way. */
  readonly busy: number;
  /** How many it takes at once. */
  readonly limit: number;
  prepare(job: Job): Promise<Square>;
  end(): Promise<void>;
}

function inThisThread(transform: TransformOptions): Preparer {
  let busy = 0;
  return {
    get busy() {
      return busy;
    },
    // The process's pool has four threads, which files need too.
    limit: Math.min(4, availableParallelism()),
    async prepare(job) {
      ++busy;
      try {
        return await preparePicture(job, transform);
      } finally {
        --busy;
      }
    },
    end: () => Promise.resolve(),
  };
}

// Beside this file: .js when compiled, .ts when the sources run as they are.
const workerFile = new URL(
  `worker${extname(fileURLToPath(import.meta.url))}`,
  new URL('.', import.meta.url),
);

// A program given by --eval leaves an option with which no thread can start.
const evaluated = process.execArgv.some((option) => option.startsWith('--input-type'));

class WorkerThread implements Preparer {
  /** One picture is transformed while the next is read and decoded. */
  readonly limit = 2;
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pick<Waiting, 'resolve' | 'reject'>>();
  #next = 0;
  #failure?: Error;
  #ending = false;

  constructor(transform: TransformOptions) {
    this.#worker = new Worker(workerFile, {
      workerData: transform,
      execArgv: evaluated ? [] : undefined,
    });
    this.#worker.on('message', (answer: Answer) => this.#settle(answer));
    this.#worker.on('error', (error: Error) => this.#fail(error));
    this.#worker.on('exit', () => {
      this.#fail(new DisposedError('DataLoader: a worker thread ended while it had work.'));
    });
    this.#worker.unref(); // an idle thread must not keep the process alive
  }

  get busy(): number {
    return this.#pending.size;
  }

  prepare(job: Job): Promise<Square> {
    return new Promise((resolve, reject) => {
      if (this.#failure) throw this.#failure;
      const id = this.#next++;
      this.#worker.postMessage({ id, job: { ...job, source: sourceApart(job.source) } });
      if (this.#pending.size === 0) this.#worker.ref();
      this.#pending.set(id, { resolve, reject });
    });
  }

  async end(): Promise<void> {
    this.#ending = true;
    await this.#worker.terminate(); // which keeps the process alive until the thread has ended
  }

  #settle(answer: Answer): void {
    const { resolve, reject } = this.#pending.get(answer.id)!;
    this.#pending.delete(answer.id);
    if (this.#pending.size === 0 && !this.#ending) this.#worker.unref();
    if ('square' in answer) resolve(answer.square);
    else if ('damage' in answer) reject(damageError(answer.damage));
    else if ('refusal' in answer) reject(new ArgumentError(answer.refusal));
    else reject(answer.error as Error);
  }

  #fail(cause: Error): void {
    this.#failure ??=
      cause instanceof EmulsionError
        ? cause
        : new EmulsionError(`DataLoader: a worker thread failed: ${cause.message}`, 'ERR_WORKER', {
            cause,
          });
    for (const { reject } of this.#pending.values()) reject(this.#failure);
    this.#pending.clear();
  }
}

function sourceApart(source: ImageSource): ImageSource {
  if ('encoded' in source) return { encoded: apart(source.encoded) };
  if ('pixels' in source) return { pixels: { ...source.pixels, data: apart(source.pixels.data) } };
  return source;
}

function damageError({
  message,
  path,
  offset,
}: {
  message: string;
  path: string;
  offset?: number;
}): FileError {
  const error = new FileError(message, path, offset);
  error.message = message; // it names the path already
  return error;
}
