// Super-resolution, 16 to 64 pixels, on the shared latents. The claim is about single results, which is what a user
// gets: one of many large pictures that a small one may come from. PSNR rewards the blurred mean of them all, so
// that bicubic interpolation, which is blurred, is no easy baseline.
import { join } from 'node:path';
import {
  clamp,
  concat,
  DataLoader,
  LowResolution,
  makeGrid,
  noGrad,
  psnr,
  resize,
  ssim,
  tidy,
  upscale,
  writeImage,
  type LatentDiffusion,
  type LatentDiffusionSpec,
  type Tensor,
} from '../../../lib/index.js';
import { emojiDataset } from '../../demo/dataset.js';
import { side, type EmojiSet } from '../../demo/emoji.js';
import { gradientEnergy, reconstruct } from '../first_stage/measure.js';
import { ofVelocity, rolled } from './emoji_model.js';
import { plainSpec } from './unconditional.js';
import type { Measured, SharedFirstStage, StudyContext, TaskResult, TaskStudy } from './study.js';

const factor = 4;
/** Results of each small picture; their mean is what an answer without details would be. */
const seeds = 4;
const steps = 30;
const shown = 8;

export const upscaleStudy: TaskStudy = {
  name: 'upscale',
  title: 'Super-resolution',
  claim: {
    metric: 'PSNR of one result against the original, drawings held out',
    baseline: 'bicubic interpolation',
    margin: 1.5,
    unit: 'dB',
    higherIsBetter: true,
  },
  run,
};

async function run(context: StudyContext): Promise<TaskResult> {
  const stage = await context.firstStage();
  const data = smallAndLarge(context.training, context.seed, true);
  const { model, record } = await context
    .train({ name: 'upscale', spec: specOf(stage), data, steps: 1800, learningRate: 1e-3 })
    .finally(() => data.dispose());
  return tidy(async () => {
    const { small, large } = await everything(context.heldOut, context.seed);
    context.log(`enlarges ${small.shape[0]} held-out drawings, ${seeds} times`);
    const results: Tensor[] = [];
    for (let seed = 0; seed < seeds; ++seed) results.push(await enlarged(model, small, seed));
    model.dispose();
    const ceiling = await reconstruct(stage.model, large);
    const file = 'results.png';
    await writeImage(join(context.folder, file), await comparison(small, results, large));
    const { claimed, more } = await qualities({ small, results, large, ceiling });
    return {
      ...claimed,
      more: [await obedience(results[0], small), ...more],
      pictures: [{ file, caption }],
      trainings: [record],
    };
  });
}

const caption =
  'Held-out drawings, in columns: 16 pixels, enlarged by bicubic interpolation, two results of the model, the original.';

const specOf = (stage: SharedFirstStage): LatentDiffusionSpec => ({
  ...plainSpec(stage, 3),
  conditioner: { kind: 'identity' },
  conditioningKey: 'concat',
  diffusion: { ...ofVelocity, linearStart: 0.0015, linearEnd: 0.0195 },
});

const smallAndLarge = (set: EmojiSet, seed: number, isTraining: boolean): DataLoader =>
  new DataLoader(emojiDataset(set), {
    batchSize: 16,
    seed,
    transform: { size: side, flip: isTraining ? 0.5 : 0 },
    // In memory and at their size already: there is nothing for threads to do.
    workers: 0,
    dropLast: isTraining,
    condition: new LowResolution({ degradation: 'pil_bicubic', factor }),
  });

/** All pictures of a set, and what is left of them at 16 pixels. */
async function everything(set: EmojiSet, seed: number): Promise<{ small: Tensor; large: Tensor }> {
  const loader = smallAndLarge(set, seed, false);
  const [small, large]: [Tensor[], Tensor[]] = [[], []];
  for await (const { image, condition } of loader.epoch()) {
    large.push(image);
    small.push(condition as Tensor);
  }
  await loader.dispose();
  return { small: concat(small), large: concat(large) };
}

async function enlarged(model: LatentDiffusion, small: Tensor, seed: number): Promise<Tensor> {
  const parts: Tensor[] = [];
  const [count] = small.shape;
  for (let from = 0; from < count; from += 16) {
    const image = small.narrow(0, from, Math.min(16, count - from));
    const seedOf = Array.from({ length: image.shape[0] }, (_, i) => seed * count + from + i);
    parts.push(await upscale(model, { image, steps, seed: seedOf }));
  }
  return concat(parts);
}

async function obedience(results: Tensor, small: Tensor): Promise<Measured> {
  const [, height, width] = small.shape;
  return tidy(async () => {
    const again = resize(results, { size: [height, width], mode: 'bicubic', antialias: true });
    return {
      name: 'PSNR of results, made small again, against the small pictures; baseline: results of others',
      value: await mean(psnr(small, again)),
      baseline: await mean(psnr(small, rolled(again))),
      unit: 'dB',
    };
  });
}

async function qualities(pictures: {
  small: Tensor;
  results: readonly Tensor[];
  large: Tensor;
  ceiling: Tensor;
}): Promise<{ claimed: Pick<TaskResult, 'value' | 'baseline'>; more: Measured[] }> {
  const { small, results, large, ceiling } = pictures;
  return noGrad(() =>
    tidy(async () => {
      const [first] = results;
      const smooth = interpolated(small);
      const average = results
        .slice(1)
        .reduce((sum, each) => sum.add(each), first)
        .div(seeds);
      const energy = await gradientEnergy(large);
      const psnrOf = (x: Tensor) => mean(psnr(large, x));
      const baseline = await psnrOf(smooth);
      const more = [
        {
          name: `PSNR of the mean of ${seeds} results; baseline: bicubic`,
          value: await psnrOf(average),
          baseline,
          unit: 'dB',
        },
        {
          name: 'PSNR of what the first stage keeps, which bounds them',
          value: await psnrOf(ceiling),
          unit: 'dB',
        },
        {
          name: 'SSIM of one result; baseline: bicubic',
          value: await mean(ssim(large, first)),
          baseline: await mean(ssim(large, smooth)),
          unit: '',
        },
        {
          name: "energy of gradients over the originals'; baseline: bicubic",
          value: (await gradientEnergy(first)) / energy,
          baseline: (await gradientEnergy(smooth)) / energy,
          unit: '',
        },
      ];
      return { claimed: { value: await psnrOf(first), baseline }, more };
    }),
  );
}

const interpolated = (small: Tensor): Tensor =>
  clamp(resize(small, { size: [side, side], mode: 'bicubic' }), -1, 1);

/** A row for each drawing. */
async function comparison(
  small: Tensor,
  results: readonly Tensor[],
  large: Tensor,
): Promise<Tensor> {
  const squares = resize(small, { size: [side, side], mode: 'nearest' });
  const columns = [squares, interpolated(small), results[0], results[1], large];
  const count = Math.min(shown, small.shape[0]);
  const every = Math.floor(small.shape[0] / count);
  const rows = Array.from({ length: count }, (_, i) =>
    columns.map((column) => column.narrow(0, i * every, 1)),
  );
  return makeGrid(concat(rows.flat()), { nrow: columns.length, padValue: 1 });
}

const mean = (x: Tensor): Promise<number> => x.mean().item();
