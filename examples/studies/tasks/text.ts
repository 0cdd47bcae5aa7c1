// Text to image: names of emoji that the training has not seen in, drawings out that fit their own names better than
// others.
import {
  captionCondition,
  DataLoader,
  textToImage,
  TextTokenizer,
  tidy,
  type Dataset,
  type Tensor,
} from '../../../lib/index.js';
import { emojiDataset } from '../../demo/dataset.js';
import { colourWords, side, type EmojiSet } from '../../demo/emoji.js';
import { attendingSpec, contextDim, sampling, seenCategories, shown } from './emoji_model.js';
import type { StudyContext, TaskResult, TaskStudy } from './study.js';

const batchSize = 32;
const length = 16;

export const textStudy: TaskStudy = {
  name: 'text',
  title: 'Text to image',
  claim: {
    metric: 'samples of held-out captions in the colour that their caption names',
    baseline: 'the same samples and the captions of others',
    margin: 20,
    unit: '%',
    higherIsBetter: true,
  },
  run: study,
};

/** The drawings with what they are called. */
export function captioned(set: EmojiSet): Dataset {
  const pictures = emojiDataset(set);
  return {
    length: pictures.length,
    item: (index) => ({ ...pictures.item(index), captions: [set.captions[index]] }),
  };
}

async function study(context: StudyContext): Promise<TaskResult> {
  const { training, heldOut, seed, folder, scale } = context;
  // A word that only one drawing has teaches less than what to do with words that nobody knows.
  const tokenizer = TextTokenizer.fromTexts(training.captions, {
    ...{ length, minCount: 2, warn: context.log },
  });
  const spec = attendingSpec(await context.firstStage(), {
    kind: 'bert',
    nEmbed: contextDim,
    nLayer: 1,
    vocabSize: tokenizer.vocabSize,
    maxSeqLen: length,
  });
  const data = new DataLoader(captioned(training), {
    ...{ batchSize, seed, transform: { size: side, flip: 0.5 }, workers: 0 },
    condition: captionCondition(tokenizer),
  });
  const { model, record } = await context
    .train({
      ...{ name: 'text', spec, data, steps: 1100, learningRate: 1e-3 },
      unconditionalProbability: 0.1,
    })
    .finally(() => data.dispose());

  try {
    const prompt = scale < 1 ? heldOut.captions.slice(0, 4) : heldOut.captions;
    const categories = heldOut.category.slice(0, prompt.length);
    return await tidy(async () => {
      const { images } = await textToImage(model, { ...sampling, tokenizer, prompt, seed });
      const colours = await coloursOf(images!);
      // What a caption names is the colour of the drawing it is made of.
      const named = prompt.map((_, i) => colourWords(drawing(heldOut.pixels, i))[0]);
      const coloured = [...prompt.keys()].filter((i) => named[i] !== undefined);
      const colour = agreement(
        coloured.map((i) => colours[i]),
        coloured.map((i) => named[i]),
      );
      const seen = await seenCategories(images!, heldOut.categories);
      const category = agreement(seen, categories);
      const perRow = Math.min(8, prompt.length);
      const first = prompt.slice(0, 4 * perRow);
      const caption = `Samples of held-out captions: ${first.join('; ')}.`;
      const pictures = images!.narrow(0, 0, first.length);
      return {
        value: colour.own,
        baseline: colour.others,
        more: [
          {
            name: 'samples that a classifier puts into the category of the drawing so named',
            ...{ value: category.own, baseline: category.others, unit: '%' },
          },
        ],
        pictures: [await shown(folder, 'samples.png', { pictures, perRow, caption })],
        trainings: [record],
      };
    });
  } finally {
    model.dispose();
  }
}

const drawing = (pixels: Uint8Array, i: number): Uint8Array =>
  pixels.subarray(i * side * side * 3, (i + 1) * side * side * 3);

/** The main colour of each picture, if it has one. */
async function coloursOf(pictures: Tensor): Promise<(string | undefined)[]> {
  const values = await pictures.data();
  const bytes = Uint8Array.from(values as Float32Array, (x) =>
    Math.round(Math.min(255, Math.max(0, (x + 1) * 127.5))),
  );
  return Array.from({ length: pictures.shape[0] }, (_, i) => colourWords(drawing(bytes, i))[0]);
}

/** How many hundredths of what was found are what was wanted: each with its own, and with all others'. */
function agreement<T>(found: readonly T[], wanted: readonly T[]): { own: number; others: number } {
  const n = found.length;
  const own = found.filter((value, i) => value === wanted[i]).length;
  const all = found.reduce(
    (sum, value) => sum + wanted.filter((other) => other === value).length,
    0,
  );
  return { own: (100 * own) / n, others: (100 * (all - own)) / (n * (n - 1)) };
}
