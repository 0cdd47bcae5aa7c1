/**
 * Pipelines of the diffusers library: folders of networks and a scheduler, joined by `model_index.json`. What
 * encodes text is another library's, and not converted: the model here then takes the encoded text.
 */
import { tensor } from '../../creation.js';
import { ArgumentError, check } from '../../errors.js';
import type { StateReader } from '../../io/state.js';
import { diffusersClass } from '../diffusers_rules.js';
import {
  diffusersConfigFile,
  diffusersWeights,
  type ConvertedReader,
  type ConvertedState,
  type DiffusersFiles,
} from '../diffusers_state.js';
import { fromDiffusersConfig, toDiffusersConfig } from '../first_stage/diffusers_config.js';
import { fromDiffusersState, toDiffusersState } from '../first_stage/diffusers.js';
import { fromDiffusersUNetState, toDiffusersUNetState } from '../unet/diffusers.js';
import { fromDiffusersUNetConfig, toDiffusersUNetConfig } from '../unet/diffusers_config.js';
import {
  fromDiffusersScheduler,
  toDiffusersScheduler,
  type DiffusersScheduler,
} from './diffusers_scheduler.js';
import type { ConditioningKey } from './diffusion_wrapper.js';
import { checkLatentDiffusionSpec, type LatentDiffusionSpec } from './latent_diffusion_spec.js';
import { NoiseSchedule } from './schedule.js';

/** The file that makes a folder a pipeline. */
export const diffusersIndexFile = 'model_index.json';
const schedulerFile = 'scheduler/scheduler_config.json';

/** What the keys of the parts begin with in a diffusion model. */
const networkPrefix = 'model.diffusion_model.';
const firstStagePrefix = 'first_stage_model.';

/** What is the same in all models of a pipeline. */
interface PipelineClass {
  /** folder of the first stage */
  readonly firstStage: 'vqvae' | 'vae';
  readonly conditioningKey?: ConditioningKey;
  /** parts that are not converted, as the pipeline cannot do without them */
  readonly others: readonly string[];
}

const pipelines = {
  LDMPipeline: { firstStage: 'vqvae', others: [] },
  LDMSuperResolutionPipeline: { firstStage: 'vqvae', conditioningKey: 'concat', others: [] },
  LDMTextToImagePipeline: {
    firstStage: 'vqvae',
    conditioningKey: 'crossattn',
    others: ['bert', 'tokenizer'],
  },
  StableDiffusionPipeline: {
    firstStage: 'vae',
    conditioningKey: 'crossattn',
    others: ['text_encoder', 'tokenizer', 'safety_checker', 'feature_extractor'],
  },
} as const satisfies Record<string, PipelineClass>;

export type DiffusersPipelineClass = keyof typeof pipelines;

/** Configurations of a pipeline's parts, as its folder has them. */
export interface DiffusersPipelineConfigs {
  readonly index: Readonly<Record<string, unknown>>;
  readonly unet: Readonly<Record<string, unknown>>;
  readonly firstStage: Readonly<Record<string, unknown>>;
  readonly scheduler: Readonly<Record<string, unknown>>;
}

/** A pipeline, read. */
export interface DiffusersPipeline {
  readonly className: DiffusersPipelineClass;
  /** With a conditioner of kind `identity` where the pipeline has an encoder of its own. */
  readonly spec: LatentDiffusionSpec;
  readonly scheduler: DiffusersScheduler;
  /** Parts that are not converted, by their names in the index. */
  readonly others: readonly string[];
}

/** Where a pipeline keeps its parts. @throws ArgumentError when it is none of those that can be converted */
export function diffusersPipelineFolders(index: Readonly<Record<string, unknown>>): {
  readonly unet: 'unet';
  readonly firstStage: 'vqvae' | 'vae';
} {
  const names = Object.keys(pipelines) as DiffusersPipelineClass[];
  return { unet: 'unet', firstStage: pipelines[diffusersClass(index, names)].firstStage };
}

/**
 * Reads a pipeline's configurations.
 *
 * @throws ArgumentError that names what is wrong, or what has no counterpart here
 */
export function fromDiffusersPipeline(configs: DiffusersPipelineConfigs): DiffusersPipeline {
  const { index } = configs;
  const className = diffusersClass(index, Object.keys(pipelines) as DiffusersPipelineClass[]);
  const { firstStage: folder, conditioningKey }: PipelineClass = pipelines[className];
  const unet = fromDiffusersUNetConfig(configs.unet);
  const { spec: stage, scaleFactor } = fromDiffusersConfig(configs.firstStage);
  const scheduler = fromDiffusersScheduler(configs.scheduler);
  const spec: LatentDiffusionSpec = {
    unet,
    // diffusion works on a VQ model's latents before quantisation
    firstStage: stage.kind === 'vq' ? { ...stage, kind: 'vq-interface' } : stage,
    conditioner: { kind: conditioningKey ? 'identity' : 'none' },
    ...(conditioningKey && { conditioningKey }),
    diffusion: scheduler.diffusion,
    ...(unet.imageSize && { imageSize: unet.imageSize }),
    // this pipeline alone takes latents as they are
    scaleFactor: className === 'LDMSuperResolutionPipeline' ? 1 : scaleFactor,
    ...(scheduler.clipSample && { clipDenoised: true }),
  };
  checkLatentDiffusionSpec(spec);
  const converted = ['unet', 'scheduler', folder];
  const others = Object.entries(index)
    .filter(([name, part]) => !converted.includes(name) && isPart(part))
    .map(([name]) => name);
  return { className, spec, scheduler, others };
}

// [library, class]; both are null for a part that is left out
function isPart(part: unknown): boolean {
  return Array.isArray(part) && part.length === 2 && part.every((name) => typeof name === 'string');
}

/**
 * The configurations of a diffusion model's pipeline, by path. Parts that encode text are named but empty:
 * `from_pretrained` takes them as arguments.
 *
 * @param like a pipeline's configurations, whose class, scheduler and further parts are kept
 * @throws ArgumentError that names what diffusers' pipelines lack
 */
export function toDiffusersPipeline(
  spec: LatentDiffusionSpec,
  like?: Pick<DiffusersPipelineConfigs, 'index' | 'scheduler'>,
): Map<string, Record<string, unknown>> {
  checkLatentDiffusionSpec(spec);
  const className = like ? (like.index._class_name as DiffusersPipelineClass) : pipelineOf(spec);
  const { firstStage: folder, others }: PipelineClass = pipelines[className];
  const { firstStage, diffusion = {}, scaleFactor = 1, clipDenoised = false } = spec;
  const unet = { ...spec.unet, ...(spec.imageSize && { imageSize: spec.imageSize }) };
  checkSampling(className, { ...spec, unet });
  const parts = {
    unet: toDiffusersUNetConfig(unet),
    [folder]: toDiffusersConfig({ spec: firstStage, scaleFactor }),
    scheduler: {
      ...(like?.scheduler ?? toDiffusersScheduler({ diffusion, clipSample: clipDenoised })),
    },
  };
  const named = Object.entries(parts).map(([name, { _class_name }]) => [
    name,
    ['diffusers', _class_name],
  ]);
  const index = {
    _class_name: className,
    ...Object.fromEntries(others.map((name) => [name, [null, null]])),
    ...like?.index,
    ...Object.fromEntries(named),
  };
  return new Map<string, Record<string, unknown>>([
    [`unet/${diffusersConfigFile}`, parts.unet],
    [`${folder}/${diffusersConfigFile}`, parts[folder]],
    [schedulerFile, parts.scheduler],
    [diffusersIndexFile, index],
  ]);
}

// What pipelines take from the configurations when they sample.
function checkSampling(className: DiffusersPipelineClass, spec: LatentDiffusionSpec): void {
  const { unet, scaleByStd, scaleFactor } = spec;
  check(unet.imageSize, () => {
    return 'diffusers: its pipelines sample latents of the side that the U-Net names: imageSize is missing.';
  });
  check(!scaleByStd || scaleFactor !== undefined, () => {
    return 'diffusers: latents are scaled by a measured factor (scaleByStd), which is not given: scaleFactor is missing.';
  });
  if (className !== 'LDMSuperResolutionPipeline') return;
  check((scaleFactor ?? 1) === 1, () => {
    return `diffusers: ${className} takes latents as they are: scaleFactor must be 1. Got ${scaleFactor}.`;
  });
  check(unet.inChannels === 2 * unet.outChannels, () => {
    return `diffusers: ${className} joins an image with as many channels as the latents: inChannels must be ${2 * unet.outChannels}. Got ${unet.inChannels}.`;
  });
}

function pipelineOf(spec: LatentDiffusionSpec): DiffusersPipelineClass {
  const { conditioner: { kind } = { kind: 'none' }, conditioningKey = 'none', firstStage } = spec;
  check((spec.numTimestepsCond ?? 1) === 1, () => {
    return 'diffusers: its pipelines have no counterpart of numTimestepsCond above 1.';
  });
  switch (`${conditioningKey} ${kind}`) {
    case 'none none':
      return 'LDMPipeline';
    case 'concat identity':
      return 'LDMSuperResolutionPipeline';
    case 'crossattn bert':
      return 'LDMTextToImagePipeline';
    // tokens from outside: this pipeline's autoencoder is always a KL model
    case 'crossattn clip':
    case 'crossattn identity':
      return firstStage.kind === 'kl' ? 'StableDiffusionPipeline' : 'LDMTextToImagePipeline';
    default:
      throw new ArgumentError(
        `diffusers: it has no pipeline of models with a conditioner of kind ${kind} and the conditioning key ` +
          `${conditioningKey}. Their U-Net and first stage can be converted each by itself.`,
      );
  }
}

/** A diffusion model as the files of a pipeline, the configurations last. */
export function toDiffusersPipelineFiles(
  spec: LatentDiffusionSpec,
  state: ConvertedState,
  like?: Pick<DiffusersPipelineConfigs, 'index' | 'scheduler'>,
): DiffusersFiles {
  const configs = toDiffusersPipeline(spec, like);
  const { unet, firstStage } = diffusersPipelineFolders(configs.get(diffusersIndexFile)!);
  const part = (prefix: string): ConvertedState =>
    new Map(
      [...state]
        .filter(([key]) => key.startsWith(prefix))
        .map(([key, source]) => [key.slice(prefix.length), source]),
    );
  return new Map<string, ConvertedState | Record<string, unknown>>([
    [`${unet}/${diffusersWeights}`, toDiffusersUNetState(spec.unet, part(networkPrefix))],
    [
      `${firstStage}/${diffusersWeights}`,
      toDiffusersState(spec.firstStage, part(firstStagePrefix)),
    ],
    ...configs,
  ]);
}

/**
 * The weights of a pipeline as the original has them, the tables of its noise schedule among them.
 *
 * @param folders readers of the two networks' files, by the names of their folders
 * @param keys those of the diffusion model
 */
export function fromDiffusersPipelineState(
  spec: LatentDiffusionSpec,
  folders: ReadonlyMap<string, StateReader>,
  keys: readonly string[],
): ConvertedReader {
  const below = (prefix: string) =>
    keys.filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length));
  const [[unetFolder, unet]] = [...folders].filter(([folder]) => folder === 'unet');
  const [[stageFolder, stage]] = [...folders].filter(([folder]) => folder !== 'unet');
  const network = fromDiffusersUNetState(spec.unet, unet, below(networkPrefix));
  const firstStage = fromDiffusersState(spec.firstStage, stage, below(firstStagePrefix));
  const parts: Readonly<Record<string, ConvertedReader>> = {
    [networkPrefix]: inFolder(unetFolder, network),
    [firstStagePrefix]: inFolder(stageFolder, firstStage),
    '': scheduleReader(spec),
  };
  const partOf = (key: string): [reader: ConvertedReader, key: string] => {
    const prefix = Object.keys(parts).find((start) => key.startsWith(start))!;
    return [parts[prefix], key.slice(prefix.length)];
  };
  const has = (key: string) => {
    const [reader, name] = partOf(key);
    return reader.has(name);
  };
  return {
    origin: parts[networkPrefix].origin,
    keys: keys.filter(has),
    has,
    info: (key) => {
      const [reader, name] = partOf(key);
      return reader.info(name);
    },
    get: (key) => {
      const [reader, name] = partOf(key);
      return reader.get(name);
    },
    sourcesOf: (key) => {
      const [reader, name] = partOf(key);
      return reader.sourcesOf(name);
    },
  };
}

const inFolder = (folder: string, reader: ConvertedReader): ConvertedReader => ({
  ...reader,
  sourcesOf: (key) => reader.sourcesOf(key).map((name) => `${folder}/${name}`),
});

/** The tables that checkpoints hold of a noise schedule, made. */
function scheduleReader({ diffusion }: LatentDiffusionSpec): ConvertedReader {
  const tables = new NoiseSchedule(diffusion).buffers();
  return {
    origin: schedulerFile,
    keys: Object.keys(tables),
    has: (key) => Object.hasOwn(tables, key),
    info: (key) => ({ shape: [tables[key].length], dtype: 'float32' }),
    get: (key) => Promise.resolve(tensor(tables[key])),
    sourcesOf: () => [schedulerFile],
  };
}
