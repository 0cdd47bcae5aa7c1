// Pictures of a diffusion model in training: what goes in, how it is noised, and how samples come out.
import { tensor } from '../creation.js';
import { makeGrid } from '../io/index.js';
import {
  decodeInBatches,
  type DiffusionBatch,
  type LatentDiffusion,
  type PatchOptions,
  type SampleOptions,
} from '../ldm/index.js';
import { mapCondition } from '../ldm/conditioning/condition_input.js';
import { clamp, stack } from '../ops/index.js';
import { noise } from '../random.js';
import { keep } from '../scope.js';
import { Tensor } from '../tensor.js';

export interface DiffusionPictureOptions {
  /** Samples, and rows of every grid. Default 4. */
  maxImages?: number;
  /** Timesteps between two columns of the diffusion row, the original's `log_every_t`. Default 100. */
  logEveryT?: number;
  /** Columns of the rows that show sampling. Default 6. */
  columns?: number;
  /** How samples are made. Default: DDIM with 50 steps, or all of a shorter schedule, and eta 1; the original takes 200. */
  sampling?: Pick<SampleOptions, 'method' | 'steps' | 'eta' | 'guidance'>;
}

const stream = 0x6c64_0020;

/**
 * Grids [H, W, 3] in [-1, 1] by name. Each row is an image: `inputs` and `reconstructions`; `diffusion_row`,
 * latents that are noised ever more; `samples`; `denoising_row` and `progressive_row`, the latents and the
 * estimates of x_0 on the way to them. As in the original all are decoded latents.
 */
export async function diffusionPictures(
  model: LatentDiffusion,
  batch: DiffusionBatch,
  options: DiffusionPictureOptions & { seed: number; patches?: PatchOptions },
): Promise<Record<string, Tensor>> {
  const { maxImages = 4, logEveryT = 100, columns = 6, seed, patches } = options;
  const sampling = options.sampling ?? { eta: 1 };
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
  const drawn = noise(some.shape, { seed, stream: stream + 1, device: some.device });
  const noised = times.map((t) => {
    const all = tensor(new BigInt64Array(N).fill(BigInt(t)), { device: some.device });
    return model.diffusion.qSample(some, all, drawn);
  });

  const [way, estimates]: [Tensor[], Tensor[]] = [[], []];
  const { images: samples } = await model.sample({
    ...sampling,
    ...conditionOf(batch, first),
    count: N,
    size: [some.shape[1], some.shape[2]],
    seed,
    patches,
    onStep({ step, steps, latent, predX0 }) {
      // evenly over the run, its last step included
      const due = Math.floor(((step + 1) * columns) / steps) > Math.floor((step * columns) / steps);
      if (!due) return;
      way.push(keep(latent.mul(1)));
      estimates.push(keep(predX0.mul(1)));
    },
  });
  const grids = {
    ...(batch.images && { inputs: await makeGrid(clamp(first(batch.images), -1, 1), { nrow: N }) }),
    reconstructions: await makeGrid(await decode(some), { nrow: N }),
    diffusion_row: await row(noised),
    samples: await makeGrid(clamp(samples!, -1, 1), { nrow: N }),
    denoising_row: await row(way),
    progressive_row: await row(estimates),
  };
  for (const each of [...way, ...estimates]) each.dispose();
  return grids;
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
