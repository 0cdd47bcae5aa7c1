// The original's diffusion models as targets: the model's parts, and what its constructors take for training.
import {
  buildLatentDiffusion,
  checkLatentDiffusionSpec,
  checkPatchOptions,
  hasOwnWeights,
  type ConditionerSpec,
  type ConditioningKey,
  type DiffusionConfig,
  type LatentDiffusion,
  type LatentDiffusionSpec,
  type PartSpec,
  type PatchOptions,
} from '../ldm/index.js';
import { camelCase } from '../ldm/config.js';
import { conditionerField } from './conditioners.js';
import { ConfigError } from './error.js';
import {
  boolean,
  convert,
  integer,
  list,
  mapping,
  nullable,
  number,
  oneOf,
  optional,
  text,
  unsupported,
  type Field,
  type FieldsOf,
} from './fields.js';
import { firstStageTargets, type FirstStageInstance } from './first_stages.js';
import type { ConfigNode } from './node.js';
import { scheduleTargets, type ScheduleInstance } from './schedules.js';
import { Targets, type Instance } from './targets.js';
import { unetTargets, type UNetInstance } from './unets.js';

/** Everything that a configuration says of a diffusion model. */
export interface DiffusionEntry {
  readonly spec: LatentDiffusionSpec;
  readonly training: DiffusionTrainingParams;
}

/** What the constructors take beside the model itself. */
export interface DiffusionTrainingParams {
  /** keep a moving average of the network's weights, default true */
  readonly useEma?: boolean;
  /** the validation number that tells which states are the best, default 'val/loss'; null: none does */
  readonly monitor?: string | null;
  /** timesteps between two pictures of a row that shows the process, default 100 */
  readonly logEveryT?: number;
  readonly schedulerConfig?: ScheduleInstance;
  /** where a batch keeps its images; default 'image' */
  readonly firstStageKey?: string;
  /** where a batch keeps what is conditioned on; default 'image' */
  readonly condStageKey?: string;
  /** weights to begin with */
  readonly ckptPath?: string;
  /** what keys of these weights begin with that are left out */
  readonly ignoreKeys?: readonly string[];
  /** take only the network's weights */
  readonly loadOnlyUnet?: boolean;
  /** share of samples whose condition is dropped, for guidance; default 0 */
  readonly unconditionalProbability?: number;
  /** deviation of noise that is the same in all of a channel's pixels, default 0 */
  readonly offsetNoise?: number;
  /** how latents are cut that are larger than the network is to see at once */
  readonly splitInputParams?: PatchOptions;
  /** weights of the first stage */
  readonly firstStageCkptPath?: string;
}

export type DiffusionInstance = Instance<DiffusionEntry, LatentDiffusion, []>;

/** What may stand as `model` of a second stage. */
export const diffusionModelTargets = new Targets<DiffusionEntry, LatentDiffusion>(
  'a diffusion model',
);

type Training = Omit<DiffusionTrainingParams, 'firstStageCkptPath'>;

/** What the constructor of diffusion on pixels takes for the model. */
interface PixelParams extends DiffusionConfig {
  unetConfig: UNetInstance;
  imageSize?: number;
  channels?: number;
  clipDenoised?: boolean;
  conditioningKey?: ConditioningKey;
  usePositionalEncodings?: undefined;
}

/** And what that of latent diffusion adds. */
interface LatentParams extends PixelParams {
  firstStageConfig: FirstStageInstance;
  condStageConfig?: ConditionerSpec;
  numTimestepsCond?: number;
  condStageTrainable?: boolean;
  unconditionalClass?: number;
  concatMode?: boolean;
  condStageForward?: undefined;
  scaleFactor?: number;
  scaleByStd?: boolean;
}

const count = integer({ min: 1 });
const weight = number({ min: 0 });
const share = number({ min: 0, max: 1 });

const diffusion: FieldsOf<DiffusionConfig> = {
  beta_schedule: optional(oneOf('linear', 'sqrt_linear', 'sqrt', 'cosine')),
  timesteps: optional(count),
  linear_start: optional(share),
  linear_end: optional(share),
  cosine_s: optional(share),
  v_posterior: optional(share),
  given_betas: optional(list(share)),
  parameterization: optional(oneOf('eps', 'x0', 'v')),
  loss_type: optional(oneOf('l1', 'l2')),
  l_simple_weight: optional(weight),
  original_elbo_weight: optional(weight),
  learn_logvar: optional(boolean),
  logvar_init: optional(number()),
  min_snr_gamma: optional(weight),
};

const positional = unsupported('the original lacks a function that it needs');

const pixelFields: FieldsOf<PixelParams> = {
  ...diffusion,
  unet_config: unetTargets.field,
  image_size: optional(count),
  channels: optional(count),
  clip_denoised: optional(boolean),
  conditioning_key: optional(oneOf('concat', 'crossattn', 'hybrid', 'adm')),
  use_positional_encodings: {
    read: (node, name) => (boolean.read(node, name) ? positional.read(node, name) : undefined),
    missing: { value: undefined },
  },
};

const latentFields: FieldsOf<LatentParams> = {
  ...pixelFields,
  first_stage_config: firstStageTargets.field,
  cond_stage_config: optional(conditionerField),
  num_timesteps_cond: optional(count),
  cond_stage_trainable: optional(boolean),
  unconditional_class: optional(integer({ min: 0 })),
  concat_mode: optional(boolean),
  cond_stage_forward: unsupported('conditioners have one way to encode here'),
  scale_factor: optional(weight),
  scale_by_std: optional(boolean),
};

const sides: Field<PatchOptions['ks']> = {
  read(node, name) {
    if (node.kind !== 'list') return count.read(node, name);
    return list(count).read(node, name) as [number, number];
  },
};

// The original's attribute of this name; the first stage itself tells its factor, vqf.
const patches = convert(
  mapping<PatchOptions>(
    {
      ks: sides,
      stride: optional(sides),
      tie_braker: optional(boolean),
      clip_min_weight: optional(share),
      clip_max_weight: optional(share),
      clip_min_tie_weight: optional(share),
      clip_max_tie_weight: optional(share),
      batch: optional(count),
      patch_distributed_vq: optional(boolean),
      crop_tokens: optional(boolean),
    },
    ['vqf'],
  ),
  (options, node) => {
    try {
      checkPatchOptions(options);
    } catch (error) {
      throw new ConfigError((error as Error).message, node.place, { cause: error });
    }
    return options;
  },
);

const training: FieldsOf<Training> = {
  use_ema: optional(boolean),
  monitor: nullable(text),
  log_every_t: optional(count),
  scheduler_config: optional(scheduleTargets.field),
  first_stage_key: optional(text),
  cond_stage_key: optional(text),
  ckpt_path: optional(text),
  ignore_keys: optional(list(text)),
  load_only_unet: optional(boolean),
  unconditional_probability: optional(share),
  offset_noise: optional(weight),
  split_input_params: optional(patches),
};

// The original gives model and training side by side.
function entry<P extends PixelParams>(
  fields: FieldsOf<P>,
  toSpec: (params: P, node: ConfigNode) => LatentDiffusionSpec,
  accepted: readonly string[] = [],
): Field<DiffusionEntry> {
  const model = mapping<P>(fields, [...Object.keys(training), ...accepted]);
  const beside = mapping<Training>(training, [...Object.keys(fields), ...accepted]);
  return {
    read(node, name) {
      const params = model.read(node, name);
      const spec = toSpec(params, node);
      checkParts(params, spec, node);
      const stage = (params as Partial<LatentParams>).firstStageConfig?.spec.training;
      const ckptPath = stage?.ckptPath;
      return {
        spec,
        training: { ...beside.read(node, name), ...(ckptPath && { firstStageCkptPath: ckptPath }) },
      };
    },
  };
}

// What the model itself refuses is told with its place as well.
function checkParts({ channels }: PixelParams, spec: LatentDiffusionSpec, node: ConfigNode): void {
  const { outChannels } = spec.unet;
  if (channels !== undefined && channels !== outChannels)
    throw new ConfigError(
      `channels (${channels}) must be the network's out_channels (${outChannels}).`,
      node.place,
    );
  try {
    checkLatentDiffusionSpec(spec);
  } catch (error) {
    throw new ConfigError((error as Error).message, node.place, { cause: error });
  }
}

/** The options of a config under `fields`' names, those that were given. */
function pick<T extends object>(params: T, fields: FieldsOf<DiffusionConfig>): DiffusionConfig {
  const names = Object.keys(fields).map(camelCase);
  return Object.fromEntries(Object.entries(params).filter(([name]) => names.includes(name)));
}

function toLatentSpec(params: LatentParams): LatentDiffusionSpec {
  const { unetConfig, firstStageConfig, condStageConfig: conditioner = { kind: 'none' } } = params;
  const { condStageTrainable, concatMode = true } = params;
  const implied = concatMode ? 'concat' : 'crossattn';
  const key = params.conditioningKey ?? implied;
  const { imageSize, scaleFactor, scaleByStd, numTimestepsCond, unconditionalClass } = params;
  return {
    unet: unetConfig.spec,
    firstStage: firstStageConfig.spec.spec,
    conditioner,
    ...(conditioner.kind !== 'none' && { conditioningKey: key }),
    diffusion: pick(params, diffusion),
    ...(imageSize && { imageSize }),
    ...(scaleFactor !== undefined && { scaleFactor }),
    ...(scaleByStd && { scaleByStd }),
    // the original lets a conditioner without weights be "trained"
    ...(condStageTrainable && hasOwnWeights(conditioner) && { conditionerTrainable: true }),
    ...(numTimestepsCond !== undefined && { numTimestepsCond }),
    ...(unconditionalClass !== undefined && { unconditionalClass }),
  };
}

// Stable Diffusion's for inpainting: whatever reads texts has the masked picture beside it.
function toInpaintingSpec(params: LatentParams): LatentDiffusionSpec {
  const { conditioner, ...spec } = toLatentSpec(params);
  return {
    ...spec,
    conditioner: {
      kind: 'hybrid',
      concat: { kind: 'masked-latents' },
      crossattn: conditioner as PartSpec,
    },
  };
}

// The original's loss on pixels leaves logvar out, learned or not.
function toPixelSpec({
  learnLogvar: _learned,
  logvarInit: _init,
  ...params
}: PixelParams): LatentDiffusionSpec {
  const { unetConfig, conditioningKey, imageSize, clipDenoised = true } = params;
  return {
    unet: unetConfig.spec,
    firstStage: { kind: 'identity' },
    ...(conditioningKey && { conditioningKey }),
    diffusion: pick(params, diffusion),
    ...(imageSize && { imageSize }),
    clipDenoised,
  };
}

const build = ({ spec }: DiffusionEntry): LatentDiffusion => buildLatentDiffusion(spec);

diffusionModelTargets.register(
  ['ldm.models.diffusion.ddpm.LatentDiffusion', 'emulsion.LatentDiffusion'],
  { params: entry<LatentParams>(latentFields, toLatentSpec), build },
);
diffusionModelTargets.register(['ldm.models.diffusion.ddpm.LatentInpaintDiffusion'], {
  // Which keys of a narrower network are widened does not arise: such a checkpoint is refused here.
  params: entry<LatentParams>(latentFields, toInpaintingSpec, ['finetune_keys']),
  build,
});
// Diffusion on pixels is latent diffusion behind the identity: the same keys, the same numbers.
diffusionModelTargets.register(['ldm.models.diffusion.ddpm.DDPM', 'emulsion.DDPM'], {
  params: entry<PixelParams>(pixelFields, toPixelSpec),
  build,
});
