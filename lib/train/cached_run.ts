// The training of a second stage on latents that are encoded once, into the folder of the run.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { tensor } from '../creation.js';
import { DataLoader, type DataSource, type ImageBatch } from '../data/index.js';
import { check } from '../errors.js';
import type { LatentDiffusion, LatentDiffusionSpec } from '../ldm/index.js';
import type { AverageStart, Ema } from '../optim/index.js';
import { digestOfState } from './checkpoint.js';
import {
  cacheLatents,
  LatentCache,
  originOfLatents,
  type CachedBatch,
  type CacheLatentsOptions,
} from './latent_cache.js';
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
 * Pictures keep the crops and flips of that one pass. Latents of other pictures or of another first stage are
 * not taken for these: all are encoded again.
 *
 * @param options.onProgress told the number of pictures encoded so far
 * @param options.warn told why latents that are there cannot be used. Default: console.warn
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
  {
    warn = console.warn,
    ...encoding
  }: Pick<CacheLatentsOptions, 'onProgress' | 'signal'> & {
    warn?: (message: string) => void;
  } = {},
): Promise<CachedLatentDiffusionRun> {
  checkCacheable(model.spec);
  const { kind } = model.conditioner;
  const batchSize = config.data!.spec.batchSize;
  const stage = await digestOfStage(model);
  const cached = async (source: DataSource<ImageBatch>, name: string, dropLast: boolean) => {
    const path = join(folder, name);
    const origin = originOf(stage, source);
    const found = await originOfLatents(path);
    if (found !== origin) {
      if (found !== undefined)
        warn(
          `${path}: the cached latents ${found === null ? 'do not say what they are of' : 'are of other pictures or another first stage'}; ` +
            'encoding again.',
        );
      await cacheLatents(model.first_stage_model, source, path, { ...encoding, origin });
    }
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

const digestOfStage = ({ spec, first_stage_model: stage }: LatentDiffusion): Promise<string> =>
  digestOfState(JSON.stringify(spec.firstStage), stage.exportState());

const originOf = (stage: string, source: DataSource<ImageBatch>): string =>
  createHash('sha256')
    .update(stage)
    .update(source instanceof DataLoader ? source.checksum : '')
    .digest('hex');

function classIds({ label, moments }: CachedBatch) {
  check(label, () => {
    return 'the model is conditioned on classes, and the cached latents have none: remove them, and encode the pictures again.';
  });
  return tensor(BigInt64Array.from(label, BigInt), { device: moments.device });
}
