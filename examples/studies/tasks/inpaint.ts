// Holes of drawings that the training has not seen: what fills them best, and whether the rest stays as it is.
import { join } from 'node:path';
import {
  concat,
  DataLoader,
  drawMask,
  ge,
  inpaint as fillHoles,
  logicalNot,
  makeGrid,
  MaskedPictures,
  tensor,
  tidy,
  where,
  writeImage,
  type LatentDiffusion,
  type LatentDiffusionSpec,
  type Tensor,
} from '../../../lib/index.js';
import { emojiDataset } from '../../demo/dataset.js';
import { side } from '../../demo/emoji.js';
import { allPictures } from '../first_stage/pictures.js';
import { ofVelocity } from './emoji_model.js';
import type { StudyContext, TaskStudy, TrainedDiffusion } from './study.js';
import { plainSpec, trainUnconditional } from './unconditional.js';

const group = 16;

async function train(context: StudyContext): Promise<TrainedDiffusion> {
  const { training, seed } = context;
  const firstStage = await context.firstStage();
  const spec: LatentDiffusionSpec = {
    // the latents of the masked drawing, and its mask
    ...plainSpec(firstStage, firstStage.spec.embedDim + 1),
    conditioner: { kind: 'first-stage' },
    conditioningKey: 'concat',
    diffusion: { ...ofVelocity, linearStart: 0.0015, linearEnd: 0.0195 },
  };
  const data = new DataLoader(emojiDataset(training), {
    batchSize: 16,
    seed,
    transform: { size: side, flip: 0.5 },
    workers: 0,
    condition: new MaskedPictures({ masks: 'wide' }),
  });
  try {
    return await context.train({ name: 'inpaint', spec, data, steps: 1500, learningRate: 1e-3 });
  } finally {
    await data.dispose();
  }
}

export const inpaint: TaskStudy = {
  name: 'inpaint',
  title: 'Inpainting',
  claim: {
    metric: 'mean error inside holes of drawings held out',
    baseline: "the mean colour of the drawing's known pixels",
    margin: 10,
    unit: 'of 255',
    higherIsBetter: false,
  },
  async run(context) {
    const { folder, heldOut, seed } = context;
    const trained = await train(context);
    const plain = await trainUnconditional(context);
    return tidy(async () => {
      const image = allPictures(heldOut);
      const mask = masks(heldOut.count, seed);
      const fill = (model: LatentDiffusion) => filled(context, model, image, mask);
      const hole = ge(mask, 0.5);
      const fillings = {
        conditioned: await fill(trained.model),
        guided: await fill(plain.model),
        mean: where(hole, meanOfKnown(image, hole), image),
        white: where(hole, 1, image),
      };
      const [inside, outside] = [
        await errorsOf(image, hole),
        await errorsOf(image, logicalNot(hole)),
      ];
      const changed = Math.max(await outside(fillings.conditioned), await outside(fillings.guided));
      if (changed !== 0) throw new Error(`known pixels differ by ${changed} of 255 in the mean`);
      const [value, baseline] = [await inside(fillings.conditioned), await inside(fillings.mean)];

      const rows = [image, where(hole, 0, image), ...Object.values(fillings)];
      const shown = Math.min(12, heldOut.count);
      await writeImage(
        join(folder, 'filled.png'),
        await makeGrid(
          concat(
            rows.map((row) => row.narrow(0, 0, shown)),
            0,
          ),
          { nrow: shown, padValue: 1 },
        ),
      );
      return {
        value,
        baseline,
        more: [
          {
            name: 'error of the unconditional model, led by what is known',
            value: await inside(fillings.guided),
            baseline,
            unit: 'of 255',
          },
          { name: 'error of white', value: await inside(fillings.white), baseline, unit: 'of 255' },
          { name: 'error outside of holes', value: changed, unit: 'of 255' },
        ],
        pictures: [
          {
            file: 'filled.png',
            caption:
              'From the top: drawings that were held out, their holes, filled by the model of masked pictures, by the ' +
              'unconditional one, with the mean colour, with white',
          },
        ],
        trainings: [trained.record, plain.record],
      };
    });
  },
};

/** As LaMa's for measuring: thick strokes and boxes, at most half of the picture. */
function masks(count: number, seed: number): Tensor {
  const values = new Float32Array(count * side * side);
  for (let sample = 0; sample < count; ++sample) {
    const size = { height: side, width: side };
    values.set(drawMask('thick', size, { seed, sample }, { most: 0.5 }), sample * side * side);
  }
  return tensor(values, { shape: [count, side, side, 1] });
}

async function filled(
  { signal, seed }: StudyContext,
  model: LatentDiffusion,
  image: Tensor,
  mask: Tensor,
): Promise<Tensor> {
  const parts: Tensor[] = [];
  for (let from = 0; from < image.shape[0]; from += group) {
    const count = Math.min(group, image.shape[0] - from);
    const part = (x: Tensor) => x.narrow(0, from, count);
    const options = { image: part(image), mask: part(mask), steps: 50, seed: seed + from, signal };
    parts.push(await fillHoles(model, options));
  }
  return concat(parts, 0);
}

function meanOfKnown(image: Tensor, hole: Tensor): Tensor {
  const known = logicalNot(hole).to('float32');
  const sums = image.mul(known).sum([1, 2], { keepDims: true });
  return sums.div(known.sum([1, 2], { keepDims: true }));
}

// The mean absolute error over the chosen pixels of all pictures, in steps of a byte.
export async function errorsOf(
  image: Tensor,
  chosen: Tensor,
): Promise<(filled: Tensor) => Promise<number>> {
  const share = chosen.to('float32');
  const values = 3 * (await share.sum().item());
  return async (filled) =>
    (127.5 * (await filled.sub(image).abs().mul(share).sum().item())) / values;
}
