// The training of a second stage on latents that are encoded once, into the folder of the run.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { tensor } from '../creation.js';
import type { DataSource, ImageBatch } from '../data/index.js';
import { check } from '../errors.js';
import type { LatentDiffusion, LatentDiffusionSpec } from '../ldm/index.js';
import type { AverageStart, Ema } from '../optim/index.js';
import { cacheLatents, LatentCache, type CachedBatch } from './latent_cache.js';
import {
  needsConditions,
  taskOf,
  wordsOf,
  type LatentDiffusionRun,
  type LatentDiffusionTrainingConfig,
} from './latent_diffusion_run.js';
import type { TrainerOptions } from './options.js';
import type { TrainingTask } from './task.js';

/** All that a Trainer takes for a second stage on cached latents, but a folder and loggers. */
export interface CachedLatentDiffusionRun {
  readonly task: TrainingTask<CachedBatch>;
  readonly data: LatentCache;
  readonly options: Omit<TrainerOptions<CachedBatch>, 'folder' | 'loggers'>;
}

/** @internal @throws ArgumentError for a model whose latents are not worth keeping */
export function checkCacheable(spec: LatentDiffusionSpec): void {
  check(!needsConditions(spec), () => {
    return (
      'latents can be cached for models of pictures alone and of classes: what this one is conditioned on ' +
      `(${spec.conditioner!.kind}) changes with every crop. Train without the cache: leave --cache-latents out, or ` +
      'set emulsion.cache_latents=false.'
    );
  });
}

/**
 * Encodes a run's pictures, or finds them encoded by an earlier call, and makes the same training of them.
 * Pictures keep the crops and flips of that one pass.
 *
 * @param options.onProgress told the number of pictures encoded so far
 * @throws FileError when latents cannot be written or read; the signal's reason when it aborts
 */
export async function cacheRunLatents(
  {
    model,
    hasScale,
    task: uncached,
    data,
    options: { validation, ...options },
  }: LatentDiffusionRun,
  config: LatentDiffusionTrainingConfig,
  folder: string,
  { onProgress, signal }: { onProgress?: (images: number) => void; signal?: AbortSignal } = {},
): Promise<CachedLatentDiffusionRun> {
  checkCacheable(model.spec);
  const { kind } = model.conditioner;
  const batchSize = config.data!.spec.batchSize;
  const cached = async (source: DataSource<ImageBatch>, name: string, dropLast: boolean) => {
    const path = join(folder, name);
    // The index is written when everything else is.
    const complete = await stat(join(path, 'index.json')).catch(() => null);
    if (!complete)
      await cacheLatents(model.first_stage_model, source, path, { onProgress, signal });
    return LatentCache.open(path, { batchSize, seed: options.seed, dropLast });
  };
  const train = await cached(data, 'train', true);
  const validated = validation && (await cached(validation, 'validation', false));
  const average = uncached.ema && averageIn(uncached.ema.ema, model);
  const start = { model, hasScale, average };
  const task = taskOf<CachedBatch>(start, config, wordsOf(model.spec, data), (batch) => ({
    encoded: train.encoded(batch),
    ...(kind !== 'none' && { condition: classIds(batch) }),
  }));
  return { task, data: train, options: { ...options, validation: validated } };
}

// Nothing was trained yet: it is what came with the weights, if an average did.
function averageIn(ema: Ema, { model }: LatentDiffusion): AverageStart {
  const averages = [...model.namedParameters()].map(
    ([name, parameter]) => [name, ema.averageOf(parameter)!] as const,
  );
  return { averages: new Map(averages), numUpdates: ema.numUpdates };
}

function classIds({ label, moments }: CachedBatch) {
  check(label, () => {
    return 'the model is conditioned on classes, and the cached latents have none: remove them, and encode the pictures again.';
  });
  return tensor(BigInt64Array.from(label, BigInt), { device: moments.device });
}
