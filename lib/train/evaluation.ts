// Looking at a model in training without a trace: eval mode, no gradients, the random numbers of training
// untouched; with the last weights or with their moving average.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { noGrad } from '../autograd/index.js';
import type { DataSource } from '../data/source.js';
import { check } from '../errors.js';
import { writeImage } from '../io/index.js';
import { autocast } from '../ops/autocast.js';
import { defaultGenerator } from '../random.js';
import { tensorsIn, tidy } from '../scope.js';
import { castTo, type TrainingPrecision } from './cycle.js';
import type { StepContext, TrainingTask } from './task.js';

/** Frees the tensors of a batch. */
export function disposeBatch(batch: unknown): void {
  for (const tensor of tensorsIn(batch)) tensor.dispose();
}

/** Runs body with every module in eval mode and puts all back as it was. */
async function watching<Batch, T>(
  { modules }: TrainingTask<Batch>,
  precision: TrainingPrecision,
  body: () => Promise<T>,
): Promise<T> {
  const all = new Set(Object.values(modules).flatMap((module) => module.modules()));
  const training = [...all].filter((module) => module.training);
  const generator = defaultGenerator.state();
  for (const module of training) module.training = false;
  try {
    return await noGrad(() => autocast(castTo(precision), () => tidy(body)));
  } finally {
    for (const module of training) module.training = true;
    defaultGenerator.setState(generator);
  }
}

/** The batches of an epoch; each is freed when the next is asked for, or none is any more. */
async function* inTurn<Batch>(data: DataSource<Batch>, signal: AbortSignal): AsyncGenerator<Batch> {
  for await (const batch of data.epoch({ signal })) {
    try {
      signal.throwIfAborted();
      yield batch;
    } finally {
      disposeBatch(batch);
    }
  }
}

/**
 * Validates with the weights as they are, then with their average.
 * @returns numbers by name: `val/rec_loss`, `val/rec_loss_ema`
 */
export async function validate<Batch>(
  task: TrainingTask<Batch>,
  data: DataSource<Batch>,
  context: StepContext,
  precision: TrainingPrecision,
  signal: AbortSignal,
): Promise<Record<string, number>> {
  if (!task.validate) return {};
  const numbers: Record<string, number> = {};
  const once = (suffix: string) =>
    watching(task, precision, async () => {
      const found = await task.validate!(inTurn(data, signal), context);
      for (const [name, value] of Object.entries(found)) numbers[`val/${name}${suffix}`] = value;
    });
  await once('');
  await task.ema?.ema.scope(() => once('_ema'));
  return numbers;
}

/**
 * Draws the task's pictures of a batch, with averaged weights if there are any, as PNG files.
 * @returns paths by name: `train/reconstructions`
 */
export async function drawPictures<Batch>(
  task: TrainingTask<Batch>,
  batch: Batch,
  split: 'train' | 'val',
  context: StepContext,
  precision: TrainingPrecision,
  folder: string,
): Promise<Record<string, string>> {
  if (!task.pictures) return {};
  const files: Record<string, string> = {};
  const step = String(context.step).padStart(8, '0');
  const draw = () =>
    watching(task, precision, async () => {
      await mkdir(join(folder, split), { recursive: true });
      for (const [name, grid] of Object.entries(await task.pictures!(batch, context))) {
        check(
          /^[\w-]+$/.test(name),
          () => `${task.name}: '${name}' cannot name a picture: use letters, digits, _ and -`,
        );
        const path = join(folder, split, `${name}-${step}.png`);
        await writeImage(path, grid);
        files[`${split}/${name}`] = path;
      }
    });
  await (task.ema ? task.ema.ema.scope(draw) : draw());
  return files;
}

/** Lends out the first batch of an epoch, of which every picture of the run is drawn. */
export async function firstBatch<Batch>(
  data: DataSource<Batch>,
  signal: AbortSignal,
  use: (batch: Batch) => Promise<void>,
): Promise<void> {
  for await (const batch of inTurn(data, signal)) {
    await use(batch);
    return;
  }
}
