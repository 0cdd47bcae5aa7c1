/** What the tasks that make whole pictures of short conditions have in common. */
import { check } from '../../errors.js';
import type { LatentDiffusion } from '../diffusion/latent_diffusion.js';
import type { SampleOptions } from '../diffusion/latent_sampling.js';
import { withDefaults } from '../unet/config.js';

/** Everything that sampling takes but for what follows from the conditions. */
export interface PictureOptions extends Omit<
  SampleOptions,
  | 'condition'
  | 'conditioning'
  | 'unconditional'
  | 'unconditionalConditioning'
  | 'count'
  | 'size'
  | 'seed'
> {
  /** pictures of each condition, default 1 */
  count?: number;
  /** height and width of the pictures in pixels, default what the model was trained on */
  size?: readonly [number, number];
  /** of the first picture, each further one has one more; or one for each picture. Default 0 */
  seed?: number | readonly number[];
}

/**
 * Sampling of `count` pictures of each of so many conditions.
 *
 * @param what begins error messages
 * @returns options for `LatentDiffusion.sample`, and what makes one entry for each picture of one for each condition
 */
export function picturesFrom(
  what: string,
  model: LatentDiffusion,
  conditions: number,
  { count = 1, size, seed = 0, ...sampling }: PictureOptions,
): { options: SampleOptions; repeated<T>(entries: readonly T[]): T[] } {
  check(conditions > 0, () => `${what}: say at least once what is to be shown.`);
  check(Number.isInteger(count) && count >= 1, () => {
    return `${what}: count must be an integer of at least 1. Got ${count}.`;
  });
  const total = conditions * count;
  const seeds = typeof seed === 'number' ? Array.from({ length: total }, (_, i) => seed + i) : seed;
  check(seeds.length === total, () => {
    return `${what}: ${total} pictures need one seed, or ${total} of them. Got ${seeds.length}.`;
  });
  return {
    options: { ...sampling, ...(size && { size: latentSize(what, model, size) }), seed: seeds },
    repeated: (entries) => entries.flatMap((entry) => new Array<typeof entry>(count).fill(entry)),
  };
}

/**
 * Height and width of the latents of pictures of this size.
 *
 * @throws ArgumentError when network or first stage cannot work on it
 */
export function latentSize(
  what: string,
  { first_stage_model: stage, spec }: LatentDiffusion,
  [height, width]: readonly [number, number],
): [number, number] {
  const f = stage.downsampling;
  // The network halves the latents before each of its levels but the first.
  const step = f * 2 ** (withDefaults(spec.unet).channelMult.length - 1);
  check(
    [height, width].every((side) => Number.isInteger(side) && side > 0 && side % step === 0),
    () => {
      return `${what}: height and width must be multiples of ${step} pixels for this model. Got ${height} and ${width}.`;
    },
  );
  return [height / f, width / f];
}
