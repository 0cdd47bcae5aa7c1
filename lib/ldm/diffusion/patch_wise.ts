/**
 * Diffusion on canvases larger than those a model was trained on (paper, section 4.3.2): in every step the
 * network sees overlapping patches, and what it predicts of them is blended, so that memory is bounded by a
 * group of patches and the network sees no more at once than it was trained on.
 *
 * `encodeTiled` and `decodeTiled` of the first stage also cut and blend, once and for pictures: their taper
 * leaves out what a tile's own border spoils. They are right wherever a first stage meets a large picture. What
 * is here is the original's arithmetic to the bit of its weights: it alone serves a network inside a sampler
 * and takes gradients; for first stages it is right where the original's pictures or latents are wanted.
 */
import { checkpoint, isGradEnabled } from '../../autograd/index.js';
import { check } from '../../errors.js';
import { concat } from '../../ops/index.js';
import { noise as drawNoise, type NoiseOptions } from '../../random.js';
import { tidy } from '../../scope.js';
import { Tensor } from '../../tensor.js';
import type { FirstStage } from '../first_stage/index.js';
import type { NetworkConditioning } from './diffusion_wrapper.js';
import { PatchGrid, sidesOf, type Patch, type PatchOptions } from './patch_grid.js';

/** A network with its conditioning: the original's apply_model. */
type ConditionedNetwork = (x: Tensor, t: Tensor, conditioning: NetworkConditioning) => Tensor;

/** What the network is conditioned on in every patch: the same, or of each patch its own. */
export type PatchConditioning = NetworkConditioning | ((patch: Patch) => NetworkConditioning);

/**
 * The network's prediction for latents of any size, patch by patch; sides of patches are counted in latents.
 * Of a map that is joined to the latents each patch sees its own part. A map no larger than a patch gives
 * exactly what the network gives for the whole.
 *
 * While gradients are recorded, a patch's results are not kept but computed again in the backward pass.
 *
 * @param x noisy latents [N, h, w, C]
 * @param t timesteps [N]
 * @throws ArgumentError or ShapeError for options that do not fit, before anything is computed
 */
export function applyPatchWise(
  network: ConditionedNetwork,
  x: Tensor,
  t: Tensor,
  conditioning: PatchConditioning,
  options: PatchOptions,
): Tensor {
  const grid = new PatchGrid(x.shape[1], x.shape[2], options);
  return blended(grid, 1, (patches) => {
    const given = conditioningOf(grid, patches, conditioning);
    const names = (['concat', 'context', 'y'] as const).filter((name) => {
      return given[name] instanceof Tensor;
    });
    const parts = [grid.cut(x, patches), repeated(t, patches.length)];
    const inputs = [...parts, ...names.map((name) => given[name] as Tensor)];
    return forgetful(([part, times, ...rest]) => {
      const own = Object.fromEntries(names.map((name, i) => [name, rest[i]]));
      return network(part, times, { ...given, ...own });
    }, inputs);
  });
}

/**
 * Unscaled latents of pictures, patch by patch; sides of patches are counted in pixels and must be divisible
 * by f. Of a KL model the patches of one sample of the posterior are blended; the noise belongs to the
 * position in the picture.
 *
 * @param images [N, H, W, C], sides divisible by f
 * @returns [N, H/f, W/f, latentChannels]
 */
export function encodePatchWise(
  stage: FirstStage,
  images: Tensor,
  options: PatchOptions,
  noise?: Tensor | NoiseOptions,
): Tensor {
  const f = stage.downsampling;
  const [N, H, W] = images.shape;
  const { ks, stride } = sidesOf(options);
  check(
    [H, W, ...ks, ...stride].every((side) => side % f === 0),
    () => {
      return (
        `encodePatchWise: pictures, ks and stride are counted in pixels and must be divisible by ${f}. ` +
        `Got ${H} x ${W}, ${ks.join(' x ')} and ${stride.join(' x ')}.`
      );
    },
  );
  const inLatents = { ...options, ks: shrunk(ks, f), stride: shrunk(stride, f) };
  const grid = new PatchGrid(H / f, W / f, inLatents);
  const shape = [N, H / f, W / f, stage.latentChannels];
  const eps =
    noise && !(noise instanceof Tensor)
      ? drawNoise(shape, { device: images.device, ...noise })
      : noise;
  return blended(grid, 1, (patches) => {
    const parts = [grid.cut(images, patches, f), ...(eps ? [grid.cut(eps, patches)] : [])];
    return forgetful(([part, own]) => stage.encodeToLatents(part, own), parts);
  });
}

/**
 * Pictures of unscaled latents, patch by patch; sides of patches are counted in latents.
 *
 * @param latents [N, h, w, latentChannels]
 * @returns [N, f h, f w, C]
 */
export function decodePatchWise(stage: FirstStage, latents: Tensor, options: PatchOptions): Tensor {
  const grid = new PatchGrid(latents.shape[1], latents.shape[2], options);
  return blended(grid, stage.downsampling, (patches) => {
    return forgetful(([part]) => stage.decodeLatents(part), [grid.cut(latents, patches)]);
  });
}

// The results of all groups, one group's tensors alive at a time.
function blended(
  grid: PatchGrid,
  scale: number,
  run: (patches: readonly Patch[]) => Tensor,
): Tensor {
  if (grid.patches.length === 1) return run(grid.patches);
  return tidy(() => {
    let weights: Tensor | undefined;
    let sum: Tensor | undefined;
    for (const patches of grid.groups) {
      const before = sum;
      [sum, weights] = tidy(() => {
        const y = run(patches);
        const weighting = weights ?? grid.weights(y, scale);
        const placed = grid.place(y, patches, weighting, scale);
        return [before ? before.add(placed) : placed, weighting];
      });
      before?.dispose();
    }
    return sum!.div(grid.total(sum!, scale));
  });
}

// What a function makes on the way is not kept for the backward pass, so all that it takes is an input of it.
function forgetful(fn: (inputs: Tensor[]) => Tensor, inputs: Tensor[]): Tensor {
  const once = (...given: Tensor[]) => tidy(() => fn(given));
  return isGradEnabled() ? checkpoint(once, ...inputs) : once(...inputs);
}

function conditioningOf(
  grid: PatchGrid,
  patches: readonly Patch[],
  conditioning: PatchConditioning,
): NetworkConditioning {
  if (typeof conditioning === 'function') return joined(patches.map(conditioning));
  const { concat: map, context, y } = conditioning;
  const times = patches.length;
  return {
    ...(map && { concat: grid.cut(map, patches) }),
    ...(context && {
      context: context instanceof Tensor ? repeated(context, times) : context.repeated(times),
    }),
    ...(y && { y: repeated(y, times) }),
  };
}

function joined(parts: readonly NetworkConditioning[]): NetworkConditioning {
  if (parts.length === 1) return parts[0];
  const names = Object.keys(parts[0]) as (keyof NetworkConditioning)[];
  return Object.fromEntries(
    names.map((name) => [name, concat(parts.map((part) => part[name] as Tensor))]),
  );
}

const repeated = (x: Tensor, times: number): Tensor =>
  times === 1 ? x : concat(Array<Tensor>(times).fill(x));

const shrunk = ([height, width]: readonly [number, number], f: number) =>
  [height / f, width / f] as const;
