/** A whole latent diffusion model as plain data. */
import { check } from '../../errors.js';
import {
  checkConditionerSpec,
  hasOwnWeights,
  type ConditionerSpec,
} from '../conditioning/index.js';
import { checkFirstStageSpec, type FirstStageSpec } from '../first_stage/index.js';
import { checkOptions, flag, group, integer, number, oneOf, type Rules } from '../rules.js';
import { checkUNetConfig, type UNetConfig } from '../unet/index.js';
import type { ConditioningKey } from './diffusion_wrapper.js';
import type { DiffusionConfig } from './gaussian_diffusion.js';
import { checkDiffusionConfig } from './rules.js';
import { makeBetas } from './schedule.js';

/** Everything that builds a model again; diffusion on pixels has the identity as its first stage. */
export interface LatentDiffusionSpec {
  /** its inChannels count the latent's channels and those of joined maps */
  unet: UNetConfig;
  firstStage: FirstStageSpec;
  /** default `{ kind: 'none' }` */
  conditioner?: ConditionerSpec;
  /** how the network takes the conditioning; default: it takes none */
  conditioningKey?: ConditioningKey;
  /** noise schedule, what the network predicts, loss */
  diffusion?: DiffusionConfig;
  /** side of the latents that are sampled, default the network's imageSize */
  imageSize?: number;
  /** multiplies the first stage's latents, default 1. With `scaleByStd` the value before the measurement */
  scaleFactor?: number;
  /** the factor is measured on the first batch and saved with the weights, default false */
  scaleByStd?: boolean;
  /** the conditioner is trained together with the network, default false */
  conditionerTrainable?: boolean;
  /** the class of a network with numClasses that stands for "none", default: there is no such class */
  unconditionalClass?: number;
  /** levels of noise that the conditioning itself is brought to, see `LatentDiffusion`. Default 1: none */
  numTimestepsCond?: number;
  /** ancestral sampling clamps its estimates to [-1, 1]: for models of pixels. Default false */
  clipDenoised?: boolean;
}

/** How a model takes classes. */
export interface ClassInput {
  /** number of different ids */
  readonly nClasses: number;
  /** the id that stands for "none", if one does */
  readonly unconditionalClass?: number;
}

/**
 * How a model takes classes: as a context, or added to its network's time embedding; null where it takes something
 * else, or something beside.
 */
export function classInputOf(spec: LatentDiffusionSpec): ClassInput | null {
  const { conditioner, conditioningKey, unet } = spec;
  if (conditioningKey === 'adm')
    return { nClasses: unet.numClasses!, unconditionalClass: spec.unconditionalClass };
  if (conditioner?.kind !== 'class') return null;
  const { nClasses = 1000, unconditionalClass } = conditioner;
  return { nClasses, unconditionalClass };
}

const rules: Rules<Required<LatentDiffusionSpec>> = {
  unet: group,
  firstStage: group,
  conditioner: group,
  conditioningKey: oneOf('concat', 'crossattn', 'hybrid', 'adm'),
  diffusion: group,
  imageSize: integer(1, 2 ** 20),
  scaleFactor: number(1e-6, 1e6),
  scaleByStd: flag,
  conditionerTrainable: flag,
  unconditionalClass: integer(0, 2 ** 24),
  numTimestepsCond: integer(1, 100_000),
  clipDenoised: flag,
};

const what = 'LatentDiffusion';

/** Checks a spec from outside. @throws ArgumentError that names what is wrong in it */
export function checkLatentDiffusionSpec(spec: unknown): asserts spec is LatentDiffusionSpec {
  checkOptions<LatentDiffusionSpec>(what, spec, rules, ['unet', 'firstStage']);
  const { unet, firstStage, diffusion = {}, conditioner = { kind: 'none' } } = spec;
  checkUNetConfig(unet);
  checkFirstStageSpec(firstStage);
  checkDiffusionConfig(diffusion);
  checkConditionerSpec(conditioner);
  const { conditioningKey, conditionerTrainable = false, numTimestepsCond = 1 } = spec;
  const { kind } = conditioner;
  check(kind === 'none' || conditioningKey, () => {
    return `${what}: say how the network takes the conditioning: conditioningKey is missing beside a conditioner of kind ${kind}.`;
  });
  check(!conditionerTrainable || hasOwnWeights(conditioner), () => {
    return `${what}: a conditioner of kind ${kind} has nothing to train: conditionerTrainable must be false.`;
  });
  check(kind === 'none' || (kind === 'hybrid') === (conditioningKey === 'hybrid'), () => {
    return `${what}: conditioningKey 'hybrid' and a conditioner of kind hybrid belong together. Got ${conditioningKey} and ${kind}.`;
  });
  const attends = conditioningKey === 'crossattn' || conditioningKey === 'hybrid';
  check(attends === (unet.useSpatialTransformer ?? false), () => {
    return (
      `${what}: conditioningKey ${conditioningKey ?? 'none'} ${attends ? 'needs' : 'excludes'} a network that ` +
      'attends to a context (useSpatialTransformer).'
    );
  });
  check((conditioningKey === 'adm') === (unet.numClasses ?? 0) > 0, () => {
    return `${what}: conditioningKey 'adm' and the network's numClasses belong together.`;
  });
  check(conditioningKey !== 'adm' || kind === 'none' || kind === 'identity', () => {
    return `${what}: with the conditioningKey adm the network takes the class ids themselves: its conditioner is the identity, not of kind ${kind}.`;
  });
  const { unconditionalClass } = spec;
  check(unconditionalClass === undefined || unconditionalClass < (unet.numClasses ?? 0), () => {
    return (
      `${what}: unconditionalClass is one of a network with numClasses (${unet.numClasses ?? 0}), and must be below ` +
      `it. Got ${unconditionalClass}. A conditioner of classes has its own.`
    );
  });
  const levels = makeBetas(diffusion).length;
  check(numTimestepsCond <= levels, () => {
    return `${what}: numTimestepsCond must be at most the ${levels} timesteps. Got ${numTimestepsCond}.`;
  });
  check(numTimestepsCond === 1 || ['concat', 'crossattn'].includes(conditioningKey!), () => {
    return `${what}: only the conditioning keys concat and crossattn go with numTimestepsCond > 1.`;
  });
  checkChannels(spec);
}

// Of latents: what the first stage gives must be what the network takes and gives.
function checkChannels({ unet, firstStage, conditioningKey }: LatentDiffusionSpec): void {
  const { inChannels, outChannels } = unet;
  // pixels have any number of channels
  const latent = firstStage.kind === 'identity' ? outChannels : firstStage.embedDim;
  const joined = conditioningKey === 'concat' || conditioningKey === 'hybrid';
  check(outChannels === latent || (unet.nEmbed ?? 0) > 0, () => {
    return `${what}: the first stage's latents have ${latent} channels, the network's outChannels are ${outChannels}.`;
  });
  check(joined ? inChannels > latent : inChannels === latent, () => {
    return (
      `${what}: the network's inChannels (${inChannels}) must be ${joined ? 'above' : ''} the latents' ${latent}` +
      `${joined ? ', for the map that is joined to them' : ''}.`
    );
  });
}
