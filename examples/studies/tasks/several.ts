// Several conditions at once: the middle of drawings filled as a text asks, what is around it being joined to the
// latents (hybrid).
import {
  captionCondition,
  concat,
  DataLoader,
  ge,
  HybridConditions,
  inpaint,
  logicalNot,
  MaskedPictures,
  tensor,
  TextTokenizer,
  tidy,
  where,
  type HybridConditioner,
  type LatentDiffusion,
  type LatentDiffusionSpec,
  type MaskFamily,
  type Tensor,
} from '../../../lib/index.js';
import { colourWords, side, type EmojiSet } from '../../demo/emoji.js';
import { allPictures } from '../first_stage/pictures.js';
import { attendingSpec, contextDim, percent, rolled, sampling, shown } from './emoji_model.js';
import { errorsOf } from './inpaint.js';
import { emphasizeTokens } from './layout.js';
import type { StudyContext, TaskResult, TaskStudy, TrainedDiffusion } from './study.js';
import { captioned } from './text.js';

const length = 16;
const group = 16;

/** Of the hole in the middle of 64 x 64 pixels: more than half of a drawing. */
const holeSide = 48;
const border = (side - holeSide) / 2;

/** Large squares anywhere, and what LaMa was trained on. */
const masks: MaskFamily = {
  kind: 'mixture',
  of: [
    { weight: 2, family: { kind: 'boxes', count: [1, 1], side: [130, 220], margin: 10 } },
    {
      weight: 1,
      family: { kind: 'strokes', count: [1, 6], length: [10, 209], width: [5, 104] },
    },
  ],
};

export const several: TaskStudy = {
  name: 'several',
  title: 'Several conditions at once',
  claim: {
    metric:
      "holes of held-out drawings filled in the colour that another drawing's caption asks for",
    baseline: 'the same fillings, judged by other captions',
    margin: 20,
    unit: '%',
    higherIsBetter: true,
  },
  run: filledAsAsked,
};

async function train(context: StudyContext, tokenizer: TextTokenizer): Promise<TrainedDiffusion> {
  const { training, seed } = context;
  const firstStage = await context.firstStage();
  const { embedDim } = firstStage.spec;
  const texts = { nEmbed: contextDim, nLayer: 1, vocabSize: tokenizer.vocabSize };
  const plain = attendingSpec(firstStage, {
    kind: 'hybrid',
    concat: { kind: 'first-stage' },
    crossattn: { kind: 'bert', ...texts, maxSeqLen: length },
  });
  const spec: LatentDiffusionSpec = {
    ...plain,
    // the latents, those of the masked drawing, and its mask
    unet: { ...plain.unet, inChannels: 2 * embedDim + 1 },
    conditioningKey: 'hybrid',
  };
  const data = new DataLoader(captioned(training), {
    ...{ batchSize: 32, seed, transform: { size: side, flip: 0.5 }, workers: 0 },
    condition: new HybridConditions(
      new MaskedPictures({ masks, least: 0.2, most: 0.75 }),
      captionCondition(tokenizer),
    ),
  });
  return context
    .train({
      ...{ name: 'several', spec, data, steps: 900, learningRate: 7e-4 },
      unconditionalProbability: 0.1,
      initialize({ cond_stage_model: both }) {
        emphasizeTokens({ cond_stage_model: (both as HybridConditioner).crossattn_conditioner });
      },
    })
    .finally(() => data.dispose());
}

async function filledAsAsked(context: StudyContext): Promise<TaskResult> {
  const { training, heldOut, folder, scale, log } = context;
  const tokenizer = TextTokenizer.fromTexts(training.captions, {
    ...{ length, minCount: 2, warn: log },
  });
  const { model, record } = await train(context, tokenizer);
  const count = scale < 1 ? 4 : heldOut.count;
  const asked = othersCaptions(heldOut).slice(0, count);
  try {
    return await tidy(async () => {
      const image = allPictures(heldOut).narrow(0, 0, count);
      const fill = (prompts: readonly string[]) => {
        return filled(context, model, { image, tokenizer, prompts });
      };
      const captions = asked.map((index) => heldOut.captions[index]);
      const own = heldOut.captions.slice(0, count);
      const fillings = {
        asked: await fill(captions),
        own: await fill(own),
        nothing: await fill(own.map(() => '')),
      };
      const colours = asked.map((index) => colourOf(heldOut, index)!);
      const found = await coloursOfHoles(fillings.asked);
      const inColour = (made: readonly (string | undefined)[]) =>
        percent(made.map((colour, i) => colour === colours[i]));
      const hole = ge(holes(count), 0.5);
      const inside = await errorsOf(image, hole);
      const outside = await errorsOf(image, logicalNot(hole));
      const perRow = Math.min(12, count);
      const columns = Array.from({ length: perRow }, (_, i) => Math.floor((i * count) / perRow));
      const rows = [image, where(hole, 0, image), ...Object.values(fillings)];
      const caption =
        'From the top: drawings that were held out, their holes, filled as the caption of another drawing asks ' +
        `(${columns.map((i) => captions[i]).join('; ')}), by their own captions, by no text.`;
      const pictures = concat(
        rows.flatMap((row) => columns.map((i) => row.narrow(0, i, 1))),
        0,
      );
      return {
        value: inColour(found),
        baseline: byOthers(found, colours),
        more: [
          {
            name: 'the same colours where the model is asked for nothing',
            value: inColour(await coloursOfHoles(fillings.nothing)),
            unit: '%',
          },
          {
            name: 'mean error inside holes filled by their own captions; baseline: by those of others',
            value: await inside(fillings.own),
            baseline: await inside(fillings.asked),
            unit: 'of 255',
          },
          {
            name: "jump at holes' borders, filled as others' captions ask; baseline: in other drawings",
            value: await jump(fillings.asked, image),
            baseline: await jump(rolled(fillings.asked), image),
            unit: 'of 255',
          },
          {
            name: 'the same jump in the drawings themselves',
            value: await jump(image, image),
            baseline: await jump(rolled(image), image),
            unit: 'of 255',
          },
          {
            name: 'error outside of holes',
            value: Math.max(...(await Promise.all(Object.values(fillings).map(outside)))),
            unit: 'of 255',
          },
        ],
        pictures: [await shown(folder, 'filled.png', { pictures, perRow, caption })],
        trainings: [record],
      };
    });
  } finally {
    model.dispose();
  }
}

/** For each drawing the next one whose colour has a name, and another than its own. */
function othersCaptions(set: EmojiSet): number[] {
  const colours = Array.from({ length: set.count }, (_, i) => colourOf(set, i));
  return colours.map((own, i) => {
    const others = Array.from({ length: set.count - 1 }, (_, k) => (i + 1 + k) % set.count);
    return others.find((k) => colours[k] !== undefined && colours[k] !== own)!;
  });
}

/** What a drawing's caption calls its colour, if anything. */
const colourOf = ({ pixels }: EmojiSet, index: number): string | undefined => {
  const bytes = side * side * 3;
  return colourWords(pixels.subarray(index * bytes, (index + 1) * bytes))[0];
};

/** [N, 64, 64, 1]: 1 in the middle. */
function holes(count: number): Tensor {
  const isInside = (x: number) => x >= border && x < border + holeSide;
  const values = Float32Array.from({ length: side * side }, (_, i) =>
    isInside(i % side) && isInside(Math.floor(i / side)) ? 1 : 0,
  );
  const one = tensor(values, { shape: [1, side, side, 1] });
  return concat(new Array<Tensor>(count).fill(one), 0);
}

/** The mean difference between what fills holes, at their borders, and what lies beside it in these drawings. */
const jump = async (filled: Tensor, around: Tensor): Promise<number> =>
  127.5 * (await edges(filled, 0).sub(edges(around, -1)).abs().mean().item());

/** The four lines of pixels so many inside of a hole's border, [N, 4, 48, 3]. */
function edges(pictures: Tensor, inside: number): Tensor {
  const [count] = pictures.shape;
  const lines = [1, 2].flatMap((axis) =>
    [border + inside, side - 1 - border - inside].map((at) => {
      const line = pictures.narrow(axis, at, 1).narrow(3 - axis, border, holeSide);
      return line.reshape([count, 1, holeSide, 3]);
    }),
  );
  return concat(lines, 1);
}

/** The main colour of what is in the middle of each picture, if it has one. */
async function coloursOfHoles(pictures: Tensor): Promise<(string | undefined)[]> {
  const [count] = pictures.shape;
  return tidy(async () => {
    const middle = pictures.narrow(1, border, holeSide).narrow(2, border, holeSide);
    const values = (await middle.data()) as Float32Array;
    const bytes = Uint8Array.from(values, (x) => Math.round((x + 1) * 127.5));
    const each = holeSide * holeSide * 3;
    return Array.from({ length: count }, (_, i) => {
      return colourWords(bytes.subarray(i * each, (i + 1) * each))[0];
    });
  });
}

/** How many hundredths of what was found are what others were asked for. */
const byOthers = (found: readonly (string | undefined)[], asked: readonly string[]): number =>
  percent(found.flatMap((colour, i) => asked.filter((_, k) => k !== i).map((c) => c === colour)));

async function filled(
  { signal, seed }: StudyContext,
  model: LatentDiffusion,
  given: { image: Tensor; tokenizer: TextTokenizer; prompts: readonly string[] },
): Promise<Tensor> {
  const { image, tokenizer, prompts } = given;
  const mask = holes(1);
  const parts: Tensor[] = [];
  for (let from = 0; from < prompts.length; from += group) {
    const prompt = prompts.slice(from, from + group);
    const part = image.narrow(0, from, prompt.length);
    const options = {
      ...sampling,
      image: part,
      mask,
      tokenizer,
      prompt,
      seed: seed + from,
      signal,
    };
    parts.push(await inpaint(model, options));
  }
  return concat(parts, 0);
}
