// Class to image: a category of emoji in, drawings out that a classifier finds to be of it. The network attends to the
// class, or has it added to its time embedding.
import {
  classToImage,
  tidy,
  type LatentDiffusion,
  type LatentDiffusionSpec,
} from '../../../lib/index.js';
import { trainingBatches, allPictures } from '../first_stage/pictures.js';
import {
  attendingSpec,
  contextDim,
  ofVelocity,
  percent,
  sampling,
  seenCategories,
  shown,
} from './emoji_model.js';
import type { Claim, SharedFirstStage, StudyContext, TaskResult, TaskStudy } from './study.js';
import { plainSpec } from './unconditional.js';

const batchSize = 32;

const claim: Claim = {
  metric: 'samples that a classifier puts into the category asked for',
  baseline: 'samples of no category',
  margin: 25,
  unit: '%',
  higherIsBetter: true,
};

export const classStudy: TaskStudy = {
  name: 'class',
  title: 'Class to image',
  claim,
  run: (context) =>
    study(context, 'class', (firstStage, none) =>
      attendingSpec(firstStage, {
        ...{ kind: 'class', embedDim: contextDim },
        ...{ nClasses: none + 1, unconditionalClass: none },
      }),
    ),
};

export const admStudy: TaskStudy = {
  name: 'adm',
  title: 'Class in the time embedding',
  claim,
  run: (context) =>
    study(context, 'adm', (firstStage, none) => {
      const plain = plainSpec(firstStage);
      return {
        ...plain,
        unet: { ...plain.unet, numClasses: none + 1 },
        conditioner: { kind: 'identity' },
        conditioningKey: 'adm',
        unconditionalClass: none,
        diffusion: { ...ofVelocity, ...plain.diffusion },
      };
    }),
};

async function study(
  context: StudyContext,
  name: string,
  specOf: (firstStage: SharedFirstStage, none: number) => LatentDiffusionSpec,
): Promise<TaskResult> {
  const { training, heldOut, seed, folder } = context;
  const { categories } = training;
  const none = categories.length;
  const data = trainingBatches(training, batchSize, seed);
  const spec = specOf(await context.firstStage(), none);
  const { model, record } = await context
    .train({
      ...{ name, spec, data, steps: 1100, learningRate: 1e-3 },
      unconditionalProbability: 0.1,
    })
    .finally(() => data.dispose());

  const count = context.scale < 1 ? 1 : 16;
  const asked = categories.flatMap((_, category) => new Array<number>(count).fill(category));
  const right = (seen: readonly number[]) => percent(seen.map((label, i) => label === asked[i]));
  const made = (classes: readonly number[], guidance: number) =>
    judged(context, model, { classes, guidance, count });
  try {
    const guided = await made([...categories.keys()], sampling.guidance);
    const plain = await made([...categories.keys()], 1);
    const unconditional = await made(new Array<number>(categories.length).fill(none), 1);
    const real = await tidy(async () => seenCategories(allPictures(heldOut), categories));
    return {
      value: right(guided),
      baseline: right(unconditional),
      more: [
        {
          name: 'without guidance',
          value: right(plain),
          baseline: right(unconditional),
          unit: '%',
        },
        {
          name: 'held-out drawings that the classifier knows, the most to hope for',
          value: percent(real.map((label, i) => label === heldOut.category[i])),
          unit: '%',
        },
      ],
      pictures: [
        await tidy(async () => {
          const { images } = await classToImage(model, {
            ...{ ...sampling, classes: [...categories.keys()], count: 8, seed: seed + 10_000 },
          });
          const caption = `Eight samples of each category, one a row: ${categories.join(', ')}.`;
          return shown(folder, 'samples.png', { pictures: images!, perRow: 8, caption });
        }),
      ],
      trainings: [record],
    };
  } finally {
    model.dispose();
  }
}

/** What the classifier sees in samples of classes. */
function judged(
  { training, seed }: StudyContext,
  model: LatentDiffusion,
  options: { classes: readonly number[]; guidance: number; count: number },
): Promise<number[]> {
  return tidy(async () => {
    const { images } = await classToImage(model, { ...sampling, seed, ...options });
    return seenCategories(images!, training.categories);
  });
}
