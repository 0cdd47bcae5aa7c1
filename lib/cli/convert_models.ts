// What `emulsion convert` knows of each kind of network: its tensors, and its folders here and in diffusers.
import {
  conditionerShapes,
  firstStageShapes,
  fromDiffusersState,
  fromDiffusersUNetState,
  hasDiffusersKeys,
  hasDiffusersUNetKeys,
  NoiseSchedule,
  toDiffusersConfig,
  toDiffusersPipelineFiles,
  toDiffusersState,
  toDiffusersUNetConfig,
  toDiffusersUNetState,
  unetShapes,
  type ConvertedReader,
  type ConvertedState,
  type DiffusersPipelineConfigs,
  type FirstStageSpec,
  type LatentDiffusionSpec,
  type UNetConfig,
} from '../ldm/index.js';
import type { StateReader } from '../io/state.js';
import {
  checkHeld as checkDiffusionHeld,
  checkSchedule,
} from '../ldm/diffusion/latent_diffusion_files.js';
import { networkFiles, type DiffusersFiles } from '../ldm/diffusers_state.js';
import { checkHeld as checkFirstStageHeld } from '../ldm/first_stage/first_stage.js';
import { checkLandmarks } from '../ldm/landmarks.js';
import { unetLandmarks } from '../ldm/unet/landmarks.js';

/** What is written: the tensors alone under the original's keys, a model folder, or diffusers' folder. */
export type Target = 'safetensors' | 'folder' | 'diffusers';

/** A network that can be converted. */
export interface ConvertibleModel {
  /** How to read a file of diffusers as the original has it; null for a file with the original's keys. */
  fromDiffusers(reader: StateReader): ((keys: readonly string[]) => ConvertedReader) | null;
  /** Refuses weights of another network, before anything of its size is made. @throws ArgumentError */
  checkHeld(weights: StateReader, target: Target): void | Promise<void>;
  /** Shapes in files of the tensors that a target needs. */
  shapes(target: Target): ReadonlyMap<string, readonly number[]>;
  /** Whether a tensor has a moving average beside it in a model folder. */
  isAveraged(key: string): boolean;
  /** Tensors of checkpoints that diffusers' configurations tell. */
  readonly toldByConfig: readonly string[];
  /** What `config.json` of a model folder says. */
  config(scaleFactor: number | undefined): Record<string, unknown>;
  /** The files of a diffusers folder. @throws ArgumentError that names what diffusers lacks */
  toDiffusers(state: ConvertedState, scaleFactor: number | undefined): DiffusersFiles;
}

type Shapes = Map<string, readonly number[]>;

/** An autoencoder. */
export function firstStageModel(spec: FirstStageSpec): ConvertibleModel {
  return {
    fromDiffusers: (reader) =>
      hasDiffusersKeys(reader.keys) ? (keys) => fromDiffusersState(spec, reader, keys) : null,
    checkHeld: (weights) => checkFirstStageHeld(spec, weights),
    shapes: () => firstStageShapes(spec),
    isAveraged: () => true,
    toldByConfig: [],
    config: (scaleFactor) => ({ firstStage: spec, ...(scaleFactor && { scaleFactor }) }),
    toDiffusers: (state, scaleFactor = 1) =>
      networkFiles(toDiffusersConfig({ spec, scaleFactor }), toDiffusersState(spec, state)),
  };
}

/** The network of a diffusion model by itself. */
export function unetModel(unet: UNetConfig): ConvertibleModel {
  return {
    fromDiffusers: (reader) =>
      hasDiffusersUNetKeys(reader.keys)
        ? (keys) => fromDiffusersUNetState(unet, reader, keys)
        : null,
    checkHeld: (weights) => checkLandmarks('convert', unetLandmarks(unet), weights),
    shapes: () => unetShapes(unet),
    isAveraged: () => true,
    toldByConfig: [],
    config: () => ({ unet }),
    toDiffusers: (state) =>
      networkFiles(toDiffusersUNetConfig(unet), toDiffusersUNetState(unet, state)),
  };
}

/**
 * A whole diffusion model.
 * @param like the pipeline of diffusers that it came from
 */
export function diffusionModel(
  spec: LatentDiffusionSpec,
  like?: DiffusersPipelineConfigs,
): ConvertibleModel {
  const schedule = new NoiseSchedule(spec.diffusion);
  return {
    fromDiffusers: () => null, // a pipeline has several files
    checkHeld: (weights, target) => {
      const needed = target === 'diffusers' ? { ...spec, conditioner: undefined } : spec;
      checkDiffusionHeld(needed, weights);
      return checkSchedule(schedule, weights);
    },
    shapes: (target) => diffusionShapes(spec, target),
    isAveraged: (key) => key.startsWith('model.'),
    toldByConfig: [...Object.keys(schedule.buffers()), 'scale_factor'],
    config: (scaleFactor) => ({
      // a measured factor lies with the weights
      latentDiffusion: { ...spec, ...(scaleFactor && !spec.scaleByStd && { scaleFactor }) },
    }),
    toDiffusers: (state, scaleFactor) =>
      toDiffusersPipelineFiles({ ...spec, ...(scaleFactor && { scaleFactor }) }, state, like),
  };
}

// No part is ever built: it may be as large as the memory.
function diffusionShapes(spec: LatentDiffusionSpec, target: Target): Shapes {
  const { unet, conditioner = { kind: 'none' }, diffusion = {}, scaleByStd } = spec;
  const below = (prefix: string, shapes: Shapes) =>
    [...shapes].map(([key, shape]) => [prefix + key, shape] as const);
  const networks = [
    ...below('model.diffusion_model.', unetShapes(unet)),
    ...below('first_stage_model.', firstStageShapes(spec.firstStage)),
  ];
  // a pipeline tells the rest in its configurations, or lacks it
  if (target === 'diffusers') return new Map(networks);
  const tables = new NoiseSchedule(diffusion).buffers();
  const { length } = tables.betas;
  return new Map([
    ...Object.keys(tables).map((key) => [key, [length]] as const),
    ...(diffusion.learnLogvar ? [['logvar', [length]] as const] : []),
    ...(scaleByStd ? [['scale_factor', []] as const] : []),
    ...networks,
    ...below('cond_stage_model.', conditionerShapes(conditioner, spec.firstStage)),
  ]);
}
