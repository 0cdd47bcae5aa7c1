/** Latent diffusion models on the disk: folders of our own, and the published checkpoints. */
import { stat } from 'node:fs/promises';
import { check, FileError } from '../../errors.js';
import { openCheckpoint } from '../../io/checkpoint.js';
import { fileError } from '../../io/file_error.js';
import { openModel, saveModel } from '../../io/model_folder.js';
import { overlay, type StateReader } from '../../io/state.js';
import type { LoadReport } from '../../nn/index.js';
import type { Ema } from '../../optim/index.js';
import { tidy } from '../../scope.js';
import { clipTextEncoderConfig } from '../conditioning/text/clip_text_encoder.js';
import { firstStageLandmarks, isBesideNetwork } from '../first_stage/first_stage.js';
import { checkLandmarks } from '../landmarks.js';
import { unetLandmarks } from '../unet/landmarks.js';
import { buildLatentDiffusion, type LatentDiffusion } from './latent_diffusion.js';
import { checkLatentDiffusionSpec, type LatentDiffusionSpec } from './latent_diffusion_spec.js';
import type { NoiseSchedule } from './schedule.js';

/**
 * Saves a model as a folder for {@link loadLatentDiffusion}: its spec in `config.json`, its weights under the
 * original's keys in `model.safetensors`.
 *
 * @param options.ema the moving average of the network's weights, saved beside them under the same keys
 */
export async function saveLatentDiffusion(
  folder: string,
  model: LatentDiffusion,
  { ema }: { ema?: Ema } = {},
): Promise<void> {
  const weights = model.exportState();
  const averaged = ema && {
    ema: new Map(
      [...model.exportState((x) => ema.averageOf(x) ?? x)].filter(([key]) =>
        key.startsWith(networkPrefix),
      ),
    ),
  };
  await saveModel(folder, { config: { latentDiffusion: model.spec }, weights, ...averaged });
}

export interface LoadLatentDiffusionOptions {
  /**
   * The moving average of the network's weights, which gives better pictures, or the weights as they were
   * trained last. Default: the average where the file has one.
   */
  weights?: 'ema' | 'raw';
  /** whether every key must be there and no other; shapes must always fit. Default true */
  strict?: boolean;
  /** which of the file's keys are read; default: all */
  takes?: (key: string) => boolean;
  /** told what did not match when loading without `strict` */
  onReport?: (report: LoadReport) => void;
}

/**
 * Loads a model from a folder that {@link saveLatentDiffusion} wrote, or from a checkpoint, the published ones
 * among them. In eval mode.
 *
 * ```ts
 * const model = await loadLatentDiffusion('cin256-v2.ckpt', latentDiffusionPresets['cin256-v2']);
 * ```
 *
 * @param path a folder, or a file in any form that `openCheckpoint` reads
 * @param spec what to build; needed for a file, which holds weights only
 * @throws FileError when the file is damaged or describes no such model; ArgumentError with all keys that are
 *   missing, unexpected or of another shape, or when it was trained with another noise schedule
 */
export async function loadLatentDiffusion(
  path: string,
  spec?: LatentDiffusionSpec,
  options: LoadLatentDiffusionOptions = {},
): Promise<LatentDiffusion> {
  if (await isFolder(path)) {
    const { config, weights, ema } = await openModel(path);
    const stored = spec ?? storedSpec(config, path);
    checkHeld(stored, weights);
    const { weights: chosen = ema ? 'ema' : 'raw' } = options;
    check(chosen === 'raw' || ema, () => noAverage(path));
    return filled(stored, chosen === 'ema' ? overlay(ema!, weights) : weights, {
      ...options,
      weights: 'raw',
    });
  }
  check(spec, () => {
    return `loadLatentDiffusion: ${path} is a file, and a file holds weights only: give the spec as well, such as latentDiffusionPresets['cin256-v2'].`;
  });
  const checkpoint = await openCheckpoint(path);
  try {
    return await filled(spec, checkpoint, options);
  } finally {
    await checkpoint.close();
  }
}

const networkPrefix = 'model.';
const averagePrefix = 'model_ema.';

/**
 * How many updates made the moving average that a folder or a checkpoint holds: -1 where it does not say, null
 * where it holds none.
 */
export async function averageUpdates(path: string): Promise<number | null> {
  if (await isFolder(path)) return (await openModel(path)).ema ? -1 : null;
  const checkpoint = await openCheckpoint(path);
  try {
    if (!holdsAverage(checkpoint.keys)) return null;
    if (!checkpoint.has(updatesKey)) return -1;
    return await tidy(async () => Number(await (await checkpoint.get(updatesKey)).item()));
  } finally {
    await checkpoint.close();
  }
}

const updatesKey = `${averagePrefix}num_updates`;

// Pruned checkpoints keep these where the average itself was left out, or put in the network's place.
const averageCounters = new Set([`${averagePrefix}decay`, updatesKey]);

/** Whether the keys of a checkpoint are those of one with a moving average. */
export function holdsAverage(keys: readonly string[]): boolean {
  return keys.some((key) => key.startsWith(averagePrefix) && !averageCounters.has(key));
}

// Encoders of Stable Diffusion kept this row of 0, 1, 2, ... as if it were a weight.
const positions = 'cond_stage_model.transformer.text_model.embeddings.position_ids';

// What a first stage was trained with stayed in it where a model was trained on top of the whole checkpoint.
function isLeftInStage(key: string): boolean {
  const inner = key.replace(/^(first|cond)_stage_model\./, '');
  return inner !== key && isBesideNetwork(inner);
}

const noAverage = (path: string) =>
  `loadLatentDiffusion: ${path} holds no moving average. Load it with weights: 'raw'.`;

async function filled(
  spec: LatentDiffusionSpec,
  whole: StateReader,
  { weights, strict, takes, onReport }: LoadLatentDiffusionOptions,
): Promise<LatentDiffusion> {
  const reader = takes ? only(whole, takes) : whole;
  const model = buildLatentDiffusion(spec);
  try {
    const hasAverage = holdsAverage(reader.keys);
    check(weights !== 'ema' || hasAverage, () => noAverage(reader.origin));
    const chosen = weights ?? (hasAverage ? 'ema' : 'raw');
    const report = await model.importState(choose(model, reader, chosen), { strict });
    onReport?.(report);
    await checkSchedule(model.diffusion.schedule, reader);
  } catch (error) {
    model.dispose();
    throw error;
  }
  return model.eval();
}

// The network's keys read from the average's (whose names have lost their dots, so they are made from the
// network's and never parsed), or the average left out. Names in it that are not the network's stay: they are
// unexpected.
function choose(model: LatentDiffusion, reader: StateReader, weights: 'ema' | 'raw'): StateReader {
  const names = [...model.model.namedParameters().keys()];
  const averages = new Map(
    names.map((name) => [networkPrefix + name, averagePrefix + name.replaceAll('.', '')]),
  );
  const known = new Set([...averages.values(), ...averageCounters, positions]);
  const source = (key: string) => (weights === 'ema' ? (averages.get(key) ?? key) : key);
  const others = reader.keys.filter(
    (key) => !known.has(key) && !averages.has(key) && !isLeftInStage(key),
  );
  const own = [...averages.keys()].filter((key) => reader.has(source(key)));
  return {
    origin: reader.origin,
    keys: [...others, ...own],
    has: (key) => reader.has(source(key)),
    info: (key) => reader.info(source(key)),
    get: (key) => reader.get(source(key)),
  };
}

function only(reader: StateReader, takes: (key: string) => boolean): StateReader {
  return {
    origin: reader.origin,
    keys: reader.keys.filter(takes),
    has: (key) => takes(key) && reader.has(key),
    info: (key) => reader.info(key),
    get: (key) => reader.get(key),
  };
}

/** @internal A wrong schedule loads without complaint and gives wrong pictures. */
export async function checkSchedule(schedule: NoiseSchedule, reader: StateReader): Promise<void> {
  if (!reader.has('betas')) return;
  const expected = schedule.betas;
  const stored = await tidy(async () => (await reader.get('betas')).to('float32').data());
  // half precision keeps three digits
  const odd = expected.findIndex((beta, t) => !(Math.abs(Number(stored[t]) / beta - 1) < 2e-3));
  check(odd < 0, () => {
    return (
      `loadLatentDiffusion: ${reader.origin} was trained with another noise schedule than the spec's: at t = ${odd} ` +
      `β is ${Number(stored[odd])}, by the spec ${expected[odd]}. Check linearStart, linearEnd and betaSchedule.`
    );
  });
}

function storedSpec(config: unknown, path: string): LatentDiffusionSpec {
  const stored = (config as { latentDiffusion?: unknown } | null)?.latentDiffusion;
  if (!stored) {
    const text = 'config.json describes no diffusion model: it has no "latentDiffusion".';
    throw new FileError(text, path);
  }
  try {
    checkLatentDiffusionSpec(stored);
  } catch (error) {
    throw new FileError(`config.json: ${(error as Error).message}`, path);
  }
  return stored;
}

/** @internal Before a model is built, the landmarks of its parts must be in the file. */
export function checkHeld(spec: LatentDiffusionSpec, weights: StateReader): void {
  const { unet, firstStage, conditioner } = spec;
  const below = (prefix: string, landmarks: ReadonlyMap<string, readonly number[]>) =>
    [...landmarks].map(([key, shape]) => [prefix + key, shape] as const);
  const expected = new Map([
    ...below('model.diffusion_model.', unetLandmarks(unet)),
    ...below('first_stage_model.', firstStageLandmarks(firstStage)),
    ...below('cond_stage_model.', conditionerLandmarks(conditioner)),
  ]);
  checkLandmarks('loadLatentDiffusion', expected, weights);
}

function conditionerLandmarks(
  spec: LatentDiffusionSpec['conditioner'],
): ReadonlyMap<string, readonly number[]> {
  switch (spec?.kind) {
    case 'class':
      return new Map([['embedding.weight', [spec.nClasses ?? 1000, spec.embedDim]]]);
    case 'bert': {
      const { nEmbed, nLayer, vocabSize = 30_522, maxSeqLen = 77 } = spec;
      return new Map([
        ['transformer.token_emb.weight', [vocabSize, nEmbed]],
        ['transformer.pos_emb.emb.weight', [maxSeqLen, nEmbed]],
        ...(nLayer > 0
          ? [
              [
                `transformer.attn_layers.layers.${2 * nLayer - 1}.1.net.2.weight`,
                [nEmbed, 4 * nEmbed],
              ] as const,
            ]
          : []),
      ]);
    }
    case 'clip': {
      const { kind: _, ...config } = spec;
      const { nEmbed, nLayer, vocabSize, maxSeqLen } = clipTextEncoderConfig(config);
      const model = 'transformer.text_model.';
      return new Map([
        [`${model}embeddings.token_embedding.weight`, [vocabSize, nEmbed]],
        [`${model}embeddings.position_embedding.weight`, [maxSeqLen, nEmbed]],
        ...(nLayer > 0
          ? [[`${model}encoder.layers.${nLayer - 1}.mlp.fc2.weight`, [nEmbed, 4 * nEmbed]] as const]
          : []),
      ]);
    }
    case 'spatial-rescaler': {
      const { inChannels = 3, outChannels } = spec;
      return new Map(
        outChannels ? [['channel_mapper.weight', [outChannels, inChannels, 1, 1]]] : [],
      );
    }
    case 'hybrid': {
      const { concat, crossattn } = spec;
      if (concat.kind === 'masked-latents') return conditionerLandmarks(crossattn);
      const parts = Object.entries({ concat, crossattn }).map(([name, part]) =>
        [...conditionerLandmarks(part)].map(
          ([key, shape]) => [`${name}_conditioner.${key}`, shape] as const,
        ),
      );
      return new Map(parts.flat());
    }
    default:
      return new Map();
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    throw fileError(path, 'cannot be read', error);
  }
}
