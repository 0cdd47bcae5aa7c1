// The diffusion models that are compared: one network on latents of every downsampling factor.
import type { FirstStageSpec, LatentDiffusionSpec, UNetConfig } from '../../../lib/index.js';
import { side } from '../../demo/emoji.js';
import { zoo, type Entry } from '../first_stage/zoo.js';
import { ofVelocity } from '../tasks/emoji_model.js';
import { multiplyAdds, parameterCount } from './compute.js';

/** A diffusion model on latents that are smaller than the picture by f. */
export interface Member {
  readonly f: number;
  /** Of the study of first stages; none for pixels. */
  readonly firstStage?: Entry;
  readonly spec: LatentDiffusionSpec;
  /** Of the network. */
  readonly parameters: number;
  /** In a pass of the network over one latent. */
  readonly multiplyAdds: number;
  /** In a step of the training: smaller latents are taken many at a time, as in the paper. */
  readonly batch: number;
}

const batches: Readonly<Record<number, number>> = { 1: 2, 2: 8, 4: 32, 8: 64, 16: 128 };

/** Everything but channels in and out is the same for all. */
const network = {
  modelChannels: 32,
  numResBlocks: 1,
  attentionResolutions: [4],
  channelMult: [1, 2, 2],
  numHeadChannels: 32,
  normGroups: 8,
} as const;

function member(f: number, firstStage?: Entry): Member {
  const channels = firstStage?.channels ?? 3;
  const latentSide = side / f;
  const unet: UNetConfig = {
    ...network,
    imageSize: latentSide,
    inChannels: channels,
    outChannels: channels,
  };
  const stage: FirstStageSpec = firstStage?.spec ?? { kind: 'identity' };
  return {
    f,
    ...(firstStage && { firstStage }),
    spec: {
      unet,
      firstStage: stage,
      diffusion: { ...ofVelocity, linearStart: 0.0015, linearEnd: 0.0195 },
      imageSize: latentSide,
      scaleByStd: true,
    },
    parameters: parameterCount(unet),
    multiplyAdds: multiplyAdds(unet, latentSide),
    batch: batches[f],
  };
}

const named = (name: string): Entry => zoo.find((entry) => entry.name === name)!;

export const nameOf = ({ f }: Member): string => `f${f}`;

/** f ascending; f = 1 is diffusion on pixels. */
export const family: readonly Member[] = [
  member(1),
  ...[2, 4, 8, 16].map((f) => member(f, named(`kl-f${f}`))),
];

/** Steps that come to so many multiply-adds, forward and backward, which costs twice as much as forward. */
export function stepsFor({ multiplyAdds: once, batch }: Member, budget: number): number {
  return Math.max(4, Math.round(budget / (3 * once * batch)));
}
