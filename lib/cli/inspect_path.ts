// The work of `emulsion inspect`: what a path is, from descriptions alone.
import { readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { DTypeError, FileError } from '../errors.js';
import { openCheckpoint } from '../io/checkpoint.js';
import { fileError } from '../io/file_error.js';
import type { Json } from '../io/json.js';
import { loadConfig, openModel } from '../io/model_folder.js';
import { readSafetensors } from '../io/safetensors.js';
import { withPrefix, type StateReader } from '../io/state.js';
import type { CheckpointMap } from '../io/torch/values.js';
import { isDiffusersConfig } from '../ldm/diffusers_rules.js';
import { holdsAverage } from '../ldm/diffusion/index.js';
import { hasDiffusersKeys } from '../ldm/first_stage/index.js';
import { isPipeline, loadPipelineIndex, openWeights, readPipeline } from './convert_pipeline.js';
import { ofConfig } from './inspect_config.js';
import { nameOf, plainOf } from './inspect_data.js';
import { printReport, type Report } from './inspect_report.js';
import { diffusionParts } from './model_parts.js';

/** Options of `emulsion inspect`, as the command line gives them. */
export interface InspectOptions {
  keys?: boolean;
  depth: number;
  json?: boolean;
}

/** Prints what the path holds. @throws FileError when it is nothing that is known */
export async function inspect(path: string, options: InspectOptions): Promise<void> {
  printReport(await reportOf(path), options);
}

async function reportOf(path: string): Promise<Report> {
  const entry = await stat(path).catch((error: unknown) => {
    throw fileError(path, 'cannot be read', error);
  });
  if (entry.isDirectory()) return ofFolder(path);
  const isConfig = ['.yaml', '.yml', '.json'].includes(extname(path).toLowerCase());
  return isConfig ? ofConfig(path) : ofFile(path);
}

async function ofFolder(path: string): Promise<Report> {
  const names = await list(path);
  if (names.includes('checkpoints')) return ofRun(path, names);
  if (await isPipeline(path)) return ofPipeline(path);
  if (!names.includes('config.json')) {
    if (originalFiles.every((name) => names.includes(name))) return ofOriginal(path, names);
    throw new FileError(
      'the folder is neither a model (config.json, or model.ckpt with config.yaml), a pipeline of diffusers ' +
        '(model_index.json) nor a run (checkpoints).',
      path,
    );
  }
  const config = await loadConfig(path);
  if (isDiffusersConfig(config)) {
    const weights = await openWeights(path);
    const { _class_name: name, scaling_factor: scale } = config;
    return {
      path,
      kind: 'folder of diffusers',
      model: typeof name === 'string' ? name : undefined,
      latentScale: typeof scale === 'number' ? scale : undefined,
      ema: false,
      hyperParameters: plainOf(config as Json),
      state: weights,
    };
  }
  const { weights, ema } = await openModel(path);
  const { scaleFactor } = (specOf(config) ?? config ?? {}) as { scaleFactor?: unknown };
  return {
    path,
    kind: 'model folder',
    model: modelOf(weights),
    latentScale: (await storedScale(weights)) ?? numberOr(scaleFactor),
    ema: ema !== null,
    hyperParameters: plainOf(config),
    state: weights,
  };
}

/** A published checkpoint and its configuration, as the original lays them side by side. */
const originalFiles = ['model.ckpt', 'config.yaml'];

async function ofOriginal(path: string, names: readonly string[]): Promise<Report> {
  const [checkpoint, yaml] = originalFiles.map((name) => join(path, name));
  const { state: _, ...config } = await ofConfig(yaml);
  const { alsoHolds, ...held } = await ofFile(checkpoint);
  const others = names.filter((name) => !originalFiles.includes(name));
  return {
    ...config,
    ...held,
    path,
    kind: 'folder of the original',
    model: config.model ?? held.model,
    // what was measured counts before what was given beforehand
    latentScale: held.latentScale ?? config.latentScale,
    hyperParameters: config.hyperParameters,
    alsoHolds: [...(alsoHolds ?? []), ...others],
  };
}

async function ofPipeline(path: string): Promise<Report> {
  const { _class_name: name } = await loadPipelineIndex(path);
  const report: Report = {
    path,
    kind: 'pipeline of diffusers',
    model: typeof name === 'string' ? name : undefined,
    ema: false,
  };
  try {
    const { configs, spec, others, readers } = await readPipeline(path);
    return {
      ...report,
      latentScale: spec.scaleFactor ?? 1,
      parameters: Object.fromEntries(diffusionParts(spec)),
      hyperParameters: plainOf({ ...configs } as Json),
      alsoHolds: others,
      state: sideBySide(readers),
    };
  } catch (error) {
    // of a kind that cannot be converted, or without weights
    if (!(error instanceof FileError)) throw error;
    return { ...report, problem: error.message };
  }
}

// Each reader's tensors below its name.
function sideBySide(readers: ReadonlyMap<string, StateReader>): Report['state'] {
  const all = new Map<string, () => ReturnType<StateReader['info']>>(
    [...readers].flatMap(([name, reader]) =>
      reader.keys.map((key) => [`${name}.${key}`, () => reader.info(key)] as const),
    ),
  );
  return { keys: [...all.keys()], info: (key) => all.get(key)!() };
}

const list = (folder: string): Promise<string[]> =>
  readdir(folder).catch((error: unknown) => {
    throw fileError(folder, 'cannot be listed', error);
  });

const specOf = (config: Json): unknown =>
  (config as { latentDiffusion?: unknown } | null)?.latentDiffusion;

async function ofRun(path: string, names: readonly string[]): Promise<Report> {
  const states = (await list(join(path, 'checkpoints')))
    .filter((name) => /^step-\d{8,15}\.safetensors$/.test(name))
    .sort();
  const config = names.includes('config.yaml')
    ? await ofConfig(join(path, 'config.yaml'))
    : undefined;
  const newest = states.at(-1);
  const state = newest && (await ofFile(join(path, 'checkpoints', newest)));
  return {
    // before the first state there is what will be trained
    ...(state || (config ?? { ema: false })),
    path,
    kind: 'folder of a run',
    model: config?.model ?? (state ? state.model : undefined),
    dtype: config?.dtype,
    parameters: config?.parameters,
    states,
    finished: names.includes('model'),
    hyperParameters: config?.hyperParameters,
    alsoHolds: names.filter((name) => !['checkpoints', 'config.yaml'].includes(name)),
  };
}

async function ofFile(path: string): Promise<Report> {
  const checkpoint = await openCheckpoint(path);
  const data: CheckpointMap = checkpoint.data instanceof Map ? checkpoint.data : new Map();
  const training = data.get('training');
  if (typeof training === 'string' && data.has('sha256')) return ofState(path, training);
  const hyperParameters = data.get('hyper_parameters') ?? data.get('config');
  const told = ['global_step', 'epoch', 'hyper_parameters', 'config'];
  return {
    path,
    kind: 'checkpoint',
    model: modelOf(checkpoint),
    steps: numberOr(data.get('global_step')),
    epochs: numberOr(data.get('epoch')),
    latentScale: await storedScale(checkpoint),
    ema: holdsAverage(checkpoint.keys),
    hyperParameters: hyperParameters === undefined ? undefined : plainOf(hyperParameters),
    alsoHolds: [...data.keys()].map(nameOf).filter((key) => !told.includes(key)),
    state: checkpoint,
  };
}

// A state of a training here: its counters lie beside the tensors.
async function ofState(path: string, text: string): Promise<Report> {
  const state = await readSafetensors(path);
  let plain: { counters?: Record<string, unknown>; identity?: Json } | null;
  try {
    plain = JSON.parse(text) as typeof plain;
  } catch {
    throw new FileError('the description of the training in it is damaged.', path);
  }
  const model = withPrefix(state, 'modules.model.');
  return {
    path,
    kind: 'state of a training',
    model: modelOf(model),
    steps: numberOr(plain?.counters?.step),
    images: numberOr(plain?.counters?.images),
    latentScale: await storedScale(model),
    ema: state.keys.some((key) => key.startsWith('ema.')),
    hyperParameters: plain?.identity === undefined ? undefined : plainOf(plain.identity),
    state,
  };
}

// What the keys are those of.
function modelOf({ keys }: StateReader): string | undefined {
  const has = (prefix: string) => keys.some((key) => key.startsWith(prefix));
  if (has('model.diffusion_model.'))
    return has('first_stage_model.') ? 'latent diffusion model' : 'diffusion model';
  if (hasDiffusersKeys(keys)) return "first stage under diffusers' names";
  if (has('quantize.embedding.')) return 'VQ-regularised first stage';
  if (has('post_quant_conv.')) return 'KL-regularised first stage';
  return undefined;
}

async function storedScale(state: StateReader): Promise<number | undefined> {
  if (!state.has('scale_factor')) return undefined;
  try {
    // One number, or it is something else of that name.
    if (state.info('scale_factor').shape.some((extent) => extent !== 1)) return undefined;
    using scale = await state.get('scale_factor');
    return numberOr(await scale.item());
  } catch (error) {
    // of a dtype that tensors here cannot hold
    if (error instanceof DTypeError) return undefined;
    throw error;
  }
}

const numberOr = (value: unknown): number | undefined => {
  const number = typeof value === 'bigint' ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : undefined;
};
