/** What the tasks that make whole pictures of short conditions have in common. */
import { check } from '../../errors.js';
import type { LatentDiffusion } from '../diffusion/latent_diffusion.js';
import type { LatentDiffusionSpec } from '../diffusion/latent_diffusion_spec.js';
import type { SampleOptions } from '../diffusion/latent_sampling.js';
import { withDefaults } from '../unet/config.js';

/** How the pictures of a task are sampled. */
export interface TaskOptions extends Omit<
  SampleOptions,
  | 'condition'
  | 'conditioning'
  | 'unconditional'
  | 'unconditionalConditioning'
  | 'count'
  | 'size'
  | 'seed'
> {
  /** of the first picture, each further one has one more; or one for each picture. Default 0 */
  seed?: number | readonly number[];
}

/** Everything that sampling takes but for what follows from the conditions. */
export interface PictureOptions extends TaskOptions {
  /** pictures of each condition, default 1 */
  count?: number;
  /** height and width of the pictures in pixels, default what the model was trained on */
  size?: readonly [number, number];
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
  return {
    options: {
      ...sampling,
      ...(size && { size: latentSize(what, model, size) }),
      seed: seedsOf(what, total, seed),
    },
    repeated: (entries) => entries.flatMap((entry) => new Array<typeof entry>(count).fill(entry)),
  };
}

/** @internal A seed for each picture, of which none depends on how many there are. */
export function seedsOf(what: string, count: number, seed: TaskOptions['seed'] = 0): number[] {
  const seeds =
    typeof seed === 'number' ? Array.from({ length: count }, (_, i) => seed + i) : [...seed];
  check(seeds.length === count, () => {
    return `${what}: ${count} pictures need one seed, or ${count} of them. Got ${seeds.length}.`;
  });
  return seeds;
}

/** @internal Sides of latents must be multiples of it: the network halves them before each of its levels but the first. */
export const latentStep = ({ unet }: LatentDiffusionSpec): number =>
  2 ** (withDefaults(unet).channelMult.length - 1);

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
  const step = f * latentStep(spec);
  check(
    [height, width].every((side) => Number.isInteger(side) && side > 0 && side % step === 0),
    () => {
      return `${what}: height and width must be multiples of ${step} pixels for this model. Got ${height} and ${width}.`;
    },
  );
  return [height / f, width / f];
}
