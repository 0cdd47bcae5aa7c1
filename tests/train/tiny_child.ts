// Trains the tiny task in a folder once its parent gives the word, saves every few steps, and tells when
// the first step is done: a process to be killed. Its arguments are the folder and the number of steps.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openRunFolder, Trainer, type Logger } from '../../lib/train/index.js';
import { TinyData, tinyTask } from './tiny_task.js';

const [path, steps] = process.argv.slice(2);
const interrupt = new AbortController();
process.once('SIGINT', () => interrupt.abort());

async function train(): Promise<void> {
  const folder = await openRunFolder(path, { resume: existsSync(join(path, 'checkpoints')) });
  const speaker: Logger = {
    step: () => void process.send?.('training'),
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

process.once('message', () => void train());
