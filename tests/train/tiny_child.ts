// Trains the tiny task in a folder once its parent gives the word, saves every few steps, and tells when
// a step is done: a process to be killed. Its arguments are the folder and the number of steps; the word is
// a number n: above 0 the process dies at the n-th time it writes, below 0 it is interrupted after -n steps.
import { existsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { openRunFolder, Trainer, type Logger } from '../../lib/train/index.js';
import { TinyData, tinyTask } from './tiny_task.js';

const [path, steps] = process.argv.slice(2);
const interrupt = new AbortController();
process.once('SIGINT', () => interrupt.abort());

async function train(interruptAfter: number): Promise<void> {
  const folder = await openRunFolder(path, { resume: existsSync(join(path, 'checkpoints')) });
  let done = 0;
  const speaker: Logger = {
    step: () => {
      process.send?.('training');
      if (++done === interruptAfter) process.kill(process.pid, 'SIGINT');
    },
    scalars: () => undefined,
    close: () => undefined,
  };
  const trainer = new Trainer(tinyTask(), new TinyData([2, 1]), {
    folder,
    steps: Number(steps),
    accumulate: 2,
    logEvery: 1,
    saveEvery: 4,
    keepLast: 2,
    loggers: [speaker],
  });
  const { finished } = await trainer.run({ signal: interrupt.signal });
  process.exitCode = finished ? 0 : 3;
  process.disconnect();
}

// Kills the process, as nothing else could stop it, when it is about to write to a file for the n-th time:
// a state takes some forty writes.
async function dieAtWrite(n: number): Promise<void> {
  const file = await open(process.argv[1]);
  const handles = Object.getPrototypeOf(file) as { write(...args: unknown[]): Promise<unknown> };
  await file.close();
  const { write } = handles;
  let count = 0;
  handles.write = function (...args) {
    if (++count === n) process.kill(process.pid, 'SIGKILL');
    return write.apply(this, args);
  };
}

process.once(
  'message',
  (n: number) => void (n > 0 ? dieAtWrite(n) : Promise.resolve()).then(() => train(-n)),
);
