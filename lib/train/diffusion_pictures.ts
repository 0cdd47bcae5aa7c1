// Pictures of a diffusion model in training: what goes in, how it is noised, and how samples come out.
import { tensor } from '../creation.js';
import { makeGrid } from '../io/index.js';
import {
  decodeInBatches,
  type DiffusionBatch,
  type LatentDiffusion,
  type LatentMask,
  type PatchOptions,
  type SampleOptions,
} from '../ldm/index.js';
import { mapCondition } from '../ldm/conditioning/condition_input.js';
import { clamp, expand, resize, stack } from '../ops/index.js';
import { noise } from '../random.js';
import { keep } from '../scope.js';
import { Tensor } from '../tensor.js';
import { conditionPictures, type ConditionWordsOptions } from './condition_pictures.js';

export interface DiffusionPictureOptions extends ConditionWordsOptions {
  /** Samples, and rows of every grid. Default 4. */
  maxImages?: number;
  /** Timesteps between two columns of the diffusion row, the original's `log_every_t`. Default 100. */
  logEveryT?: number;
  /** Columns of the rows that show sampling. Default 6. */
  columns?: number;
  /** How samples are made. Default: DDIM with 50 steps, or all of a shorter schedule, and eta 1; the original takes 200. */
  sampling?: Pick<SampleOptions, 'method' | 'steps' | 'eta' | 'guidance'>;
  /** Samples once more, each estimate brought to its nearest codes, where the first stage has codes. Default true. */
  quantizeDenoised?: boolean;
  /** Samples twice more: the middle made anew, and all around it. Default true. */
  inpaint?: boolean;
}

const stream = 0x6c64_0020;

/**
 * Grids [H, W, 3] in [-1, 1] by name. Each row is an image: `inputs` and `reconstructions`; `conditioning`, what
 * samples are asked for; `diffusion_row`, latents that are noised ever more; `samples`; `denoising_row` and
 * `progressive_row`, the latents and the estimates of x_0 on the way to these samples, where the original's progressive
 * row is of ancestral sampling by itself. `samples_x0_quantized` begin with the same noise; `samples_inpainting` keep the
 * latents of the inputs where `mask` is white, `samples_outpainting` where it is black. As in the original all but
 * inputs and conditions are decoded latents.
 */
export async function diffusionPictures(
  model: LatentDiffusion,
  batch: DiffusionBatch,
  options: DiffusionPictureOptions & { seed: number; patches?: PatchOptions },
): Promise<Record<string, Tensor>> {
  const { maxImages = 4, logEveryT = 100, columns = 6, seed, patches } = options;
  const { quantizeDenoised = true, inpaint = true, sampling = { eta: 1 } } = options;
  const latents = model.latentsOf(batch, { seed, stream }, patches);
  const N = Math.min(maxImages, latents.shape[0]);
  const first = (x: Tensor) => x.narrow(0, 0, N);
  const some = first(latents);
  const decode = async (x: Tensor) => clamp(await decodeInBatches(model, x, 4, patches), -1, 1);
  const row = async (steps: readonly Tensor[]) => {
    const [, ...shape] = steps[0].shape;
    const images = await decode(stack(steps, 1).reshape([N * steps.length, ...shape]));
    return makeGrid(images, { nrow: steps.length });
  };

  const { timesteps } = model.diffusion.schedule;
  const times = Array.from({ length: Math.ceil(timesteps / logEveryT) }, (_, i) => i * logEveryT);
  if (times.at(-1) !== timesteps - 1) times.push(timesteps - 1);
  const [, h, w] = some.shape;
  const drawn = noise(some.shape, { seed, stream: stream + 1, device: some.device });
  const noised = times.map((t) => {
    const all = tensor(new BigInt64Array(N).fill(BigInt(t)), { device: some.device });
    return model.diffusion.qSample(some, all, drawn);
  });

  const conditions = conditionOf(batch, first);
  const sample = async (more: Partial<SampleOptions>) => {
    const told = { ...sampling, ...conditions, count: N, size: [h, w] as const, seed, patches };
    const { images } = await model.sample({ ...told, ...more });
    return makeGrid(clamp(images!, -1, 1), { nrow: N });
  };
  const [way, estimates]: [Tensor[], Tensor[]] = [[], []];
  const samples = await sample({
    onStep({ step, steps, latent, predX0 }) {
      // evenly over the run, its last step included
      const due = Math.floor(((step + 1) * columns) / steps) > Math.floor((step * columns) / steps);
      if (!due) return;
      way.push(keep(latent.mul(1)));
      estimates.push(keep(predX0.mul(1)));
    },
  });
  const f = model.first_stage_model.downsampling;
  const { condition } = conditions;
  const grids = {
    ...(batch.images && { inputs: await makeGrid(clamp(first(batch.images), -1, 1), { nrow: N }) }),
    reconstructions: await makeGrid(await decode(some), { nrow: N }),
    ...(condition && (await conditionPictures(condition, [f * h, f * w], options))),
    diffusion_row: await row(noised),
    samples,
    ...(quantizeDenoised &&
      model.hasCodes && { samples_x0_quantized: await sample({ quantizeX0: true }) }),
    ...(inpaint && (await aroundTheMiddle(some, f, (mask) => sample({ mask })))),
    denoising_row: await row(way),
    progressive_row: await row(estimates),
  };
  for (const each of [...way, ...estimates]) each.dispose();
  return grids;
}

// The square of half the sides in the middle is made to fit the rest, and the rest to fit the square.
async function aroundTheMiddle(
  known: Tensor,
  f: number,
  sample: (mask: LatentMask) => Promise<Tensor>,
): Promise<Record<string, Tensor>> {
  const { device, shape } = known;
  const [N, h, w] = shape;
  const [top, bottom, left, right] = [h, w].flatMap((side) => {
    return [Math.floor(side / 4), Math.floor((3 * side) / 4)];
  });
  const isHole = Float32Array.from({ length: h * w }, (_, i) => {
    const [y, x] = [Math.floor(i / w), i % w];
    return Number(y >= top && y < bottom && x >= left && x < right);
  });
  const hole = tensor(isHole, { shape: [1, h, w, 1], device });
  const holes = expand(hole, [N, h, w, 1]);
  const kept = holes.neg().add(1);
  const pixels = resize(hole.mul(-2).add(1), { size: [f * h, f * w], mode: 'nearest' });
  return {
    samples_inpainting: await sample({ keep: kept, known }),
    mask: await makeGrid(pixels),
    samples_outpainting: await sample({ keep: holes, known }),
  };
}

// The first samples' conditions.
function conditionOf(
  { condition, conditioning }: DiffusionBatch,
  first: (x: Tensor) => Tensor,
): Pick<SampleOptions, 'condition' | 'conditioning'> {
  if (conditioning) {
    const entries = Object.entries(conditioning).filter(([, x]) => x instanceof Tensor);
    return {
      conditioning: Object.fromEntries(entries.map(([name, x]) => [name, first(x as Tensor)])),
    };
  }
  return condition ? { condition: mapCondition(condition, first) } : {};
}
