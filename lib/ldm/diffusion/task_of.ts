/** Which task a model is for, by what it is conditioned on. */
import { textInputOf, type ConditionerSpec, type HybridSpec } from '../conditioning/index.js';
import { downsamplingOf } from '../first_stage/config.js';
import { classInputOf, type LatentDiffusionSpec } from './latent_diffusion_spec.js';

/** What a model's pictures are made of. */
export interface ModelTask {
  /** Completes "the model is conditioned on". */
  readonly condition: string;
  /** The function that takes it as people have it; null where `LatentDiffusion.sample` alone does. */
  readonly madeBy:
    | 'classToImage'
    | 'inpaint'
    | 'layoutToImage'
    | 'semanticToImage'
    | 'textToImage'
    | 'upscale'
    | null;
}

/** @internal */
export function taskOf(spec: LatentDiffusionSpec): ModelTask {
  const { conditioner = { kind: 'none' }, conditioningKey } = spec;
  if (conditioningKey === undefined) return { condition: 'nothing', madeBy: null };
  if (conditioner.kind === 'hybrid') return taskOfBoth(conditioner);
  if (classInputOf(spec)) return { condition: 'classes', madeBy: 'classToImage' };
  if (textInputOf(conditioner)) return { condition: 'texts', madeBy: 'textToImage' };
  if (typeof upscalingOf(spec) !== 'string')
    return { condition: 'small pictures', madeBy: 'upscale' };
  return taskOfKind(conditioner, conditioningKey === 'concat');
}

function taskOfKind({ kind }: ConditionerSpec, isMap: boolean): ModelTask {
  switch (kind) {
    case 'bert':
      return { condition: 'layouts', madeBy: 'layoutToImage' };
    case 'spatial-rescaler':
      return { condition: 'semantic maps', madeBy: 'semanticToImage' };
    case 'first-stage':
      return { condition: 'masked pictures', madeBy: 'inpaint' };
    default:
      return {
        condition: isMap ? 'maps of its own kind' : 'embeddings of another network',
        madeBy: null,
      };
  }
}

function taskOfBoth(conditioner: HybridSpec): ModelTask {
  const isMasked = ['first-stage', 'masked-latents'].includes(conditioner.concat.kind);
  return isMasked && textInputOf(conditioner)
    ? { condition: 'masked pictures and texts at once', madeBy: 'inpaint' }
    : { condition: 'maps and tokens at once', madeBy: null };
}

/** How a model enlarges pictures. */
export interface UpscalingScale {
  /** how many times larger it makes both sides */
  readonly factor: number;
  /** how many times its conditioner enlarges the small picture before it is joined to the latents */
  readonly mapScale: number;
}

/** @internal The scales of a model of super-resolution, or why a model is none. */
export function upscalingOf(spec: LatentDiffusionSpec): UpscalingScale | string {
  const { unet, firstStage, conditioner = { kind: 'none' }, conditioningKey } = spec;
  const { kind } = conditioner;
  if (kind !== 'identity' && kind !== 'spatial-rescaler')
    return kind === 'none' ? 'it is conditioned on nothing' : `its conditioner is ${kind}`;
  if (conditioningKey !== 'concat') return `its conditioning key is ${conditioningKey}`;
  const joined = unet.inChannels - unet.outChannels;
  const taken = kind === 'identity' ? joined : (conditioner.inChannels ?? 3);
  if (taken !== 3) return `what it is conditioned on has ${taken} channels`;
  const mapScale =
    kind === 'identity' ? 1 : (conditioner.multiplier ?? 0.5) ** (conditioner.nStages ?? 1);
  const f = firstStage.kind === 'identity' ? 1 : downsamplingOf(firstStage.ddconfig);
  const factor = f * mapScale;
  if (!Number.isInteger(factor) || factor < 2)
    return `its pictures would be ${factor} times as large as what it is given`;
  return { factor, mapScale };
}
