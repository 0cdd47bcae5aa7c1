// A worker thread of the loader: pictures in, bytes out.
import { parentPort, workerData } from 'node:worker_threads';
import { ArgumentError, FileError } from '../errors.js';
import { apart } from './pixels.js';
import { preparePicture, type Job } from './prepare.js';
import type { Square, TransformOptions } from './transform.js';

/** What a worker answers: a square, or why there is none. */
export type Answer = { id: number } & (
  | { square: Square }
  | { damage: { message: string; path: string; offset?: number } }
  | { refusal: string }
  | { error: unknown }
);

const port = parentPort!;
const transform = workerData as TransformOptions;

port.on('message', ({ id, job }: { id: number; job: Job }) => {
  preparePicture(job, transform).then(
    ({ pixels, region }) => {
      const data = apart(pixels.data);
      const square = { pixels: { ...pixels, data }, region };
      port.postMessage({ id, square } satisfies Answer, [data.buffer as ArrayBuffer]);
    },
    (error: unknown) => {
      // The classes of errors would be lost on the way.
      if (error instanceof FileError) {
        const { message, path, offset } = error;
        port.postMessage({ id, damage: { message, path, offset } } satisfies Answer);
      } else if (error instanceof ArgumentError)
        port.postMessage({ id, refusal: error.message } satisfies Answer);
      else port.postMessage({ id, error } satisfies Answer);
    },
  );
});
