// The trainings of the study, in legs: between two of them the model is looked at.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  buildLatentDiffusion,
  cacheLatents,
  DataLoader,
  LatentCache,
  latentDiffusionTask,
  manualSeed,
  saveLatentDiffusion,
  type CachedBatch,
  type FirstStage,
  type LatentDiffusion,
} from '../../../lib/index.js';
import { emojiDataset } from '../../demo/dataset.js';
import { side, type EmojiSet } from '../../demo/emoji.js';
import { risingAndFalling, runTraining } from '../training.js';
import { nameOf, type Member } from './family.js';

export interface LegsOptions {
  readonly folder: string;
  readonly member: Member;
  /** Trained; null for pixels. */
  readonly firstStage: FirstStage | null;
  readonly pictures: EmojiSet;
  /** At the end of each leg, ascending. */
  readonly ends: readonly number[];
  /** Where the trained model goes. */
  readonly saveTo: string;
  readonly seed: number;
  readonly signal: AbortSignal;
  /** Whether the model is still to be looked at after this leg. */
  isWanted(steps: number): boolean;
  /** Sees the model with its averaged weights, at the end of every leg but the last. */
  look(model: LatentDiffusion, steps: number): Promise<void>;
}

const learningRate = 1e-3;

/** Trains leg by leg, and saves. What was looked at is not trained again, and an interrupted leg goes on. */
export async function trainInLegs(options: LegsOptions): Promise<void> {
  const { folder, member, firstStage, ends, saveTo, seed, signal, isWanted, look } = options;
  manualSeed(seed);
  const model = buildLatentDiffusion(member.spec);
  if (firstStage) model.first_stage_model.loadStateDict(firstStage.stateDict());
  const name = nameOf(member);
  const last = ends[ends.length - 1];
  const data = await latents(options, model.first_stage_model);
  const task = latentDiffusionTask<CachedBatch>({
    model,
    learningRate,
    schedule: risingAndFalling(last),
    read: (batch) => ({ encoded: data.encoded(batch) }),
  });
  const { ema } = task.ema!;
  // The state of a later leg is of no use for an earlier one: each is looked at before the next begins.
  for (const steps of ends) {
    if (steps < last && !isWanted(steps)) continue;
    await runTraining({ name, folder, task, data, steps, seed, signal });
    if (steps < last) await ema.scope(() => look(model, steps));
  }
  await saveLatentDiffusion(saveTo, model, { ema });
  model.dispose();
}

/** All drawings as the first stage sees them, encoded once: the training is of the network alone. */
async function latents(
  { folder, member, pictures, seed, signal }: LegsOptions,
  stage: FirstStage,
): Promise<LatentCache> {
  const path = join(folder, 'latents', nameOf(member));
  if (!existsSync(join(path, 'index.json'))) {
    const transform = { size: side };
    const data = new DataLoader(emojiDataset(pictures), { batchSize: 16, transform, workers: 0 });
    await cacheLatents(stage, data, path, { signal });
    await data.dispose();
  }
  const batchSize = Math.min(member.batch, pictures.count);
  return LatentCache.open(path, { batchSize, seed });
}
