// Layout to image: emoji in given places. A judge says whether each box of a held-out layout holds what was asked
// for, and whether the same pictures hold what other layouts ask for.
import { join } from 'node:path';
import {
  clamp,
  concat,
  constant_,
  DataLoader,
  LayoutConditions,
  layoutIds,
  LayoutTokens,
  makeGrid,
  noGrad,
  normal_,
  readImage,
  resize,
  stack,
  tensor,
  tidy,
  writeImage,
  type BertEmbedder,
  type FirstStage,
  type LatentDiffusion,
  type LatentDiffusionSpec,
  type LayoutObject,
  type Tensor,
} from '../../../lib/index.js';
import { writeBoxes } from '../../../lib/io/draw_boxes.js';
import {
  canvasClasses,
  canvasDataset,
  loadStickers,
  makeCanvas,
  type Canvas,
  type CanvasOptions,
  type StickerSet,
} from './canvases.js';
import { Judge, pixelsOf } from './judge.js';
import { ofVelocity } from './emoji_model.js';
import type { SharedFirstStage, StudyContext, TaskStudy, TrainedDiffusion } from './study.js';

const canvasSide = 64;
/** Apart from each other in pixels: the places of upper left corners, and the corners that tokens tell. */
const [raster, grid] = [16, 8];
const scenes: Omit<CanvasOptions, 'seed'> = {
  ...{ width: canvasSide, height: canvasSide },
  ...{ objects: [2, 4], sizes: [32, 32], raster },
};
/** A lone thing teaches what places mean. */
const trainingScenes: typeof scenes = { ...scenes, objects: [1, 4] };
const group = 16;
const judgeSteps = 300;
const guidance = 2;
const sampling = { method: 'dpm-solver++', steps: 20 } as const;
const shown = 8;

/** Corners on a grid, both ends of the canvas counted; at most four objects, no crops. */
const tokens = new LayoutTokens({
  categories: canvasClasses.length,
  vocabSize: (canvasSide / grid + 1) ** 2 + 1,
  maxObjects: 4,
  encodeCrop: false,
});

function layoutSpec({ model, spec: firstStage }: SharedFirstStage): LatentDiffusionSpec {
  const { embedDim } = firstStage;
  const width = 96;
  return {
    unet: {
      imageSize: canvasSide / model.downsampling,
      inChannels: embedDim,
      outChannels: embedDim,
      modelChannels: 32,
      numResBlocks: 1,
      // Down to 2 x 2 places, each of which is a corner of the canvas: a network knows places by what borders them.
      attentionResolutions: [2, 4, 8],
      channelMult: [1, 4, 4, 4],
      numHeadChannels: 32,
      useSpatialTransformer: true,
      contextDim: width,
      normGroups: 8,
    },
    firstStage,
    conditioner: {
      kind: 'bert',
      nEmbed: width,
      nLayer: 1,
      vocabSize: tokens.none + 1,
      maxSeqLen: tokens.length,
      useTokenizer: false,
      unconditionalToken: tokens.none,
    },
    conditioningKey: 'crossattn',
    conditionerTrainable: true,
    diffusion: { ...ofVelocity, linearStart: 0.0015, linearEnd: 0.0205 },
    scaleByStd: true,
  };
}

/**
 * Tokens that differ and weigh: embeddings as large as what the first attention adds to all of them alike, and
 * contexts of a larger scale. With the original's embeddings, of deviation 0.02, contexts are nearly alike, and
 * what attends to them gets gradients so small that a short training hardly learns where things are.
 */
export function emphasizeTokens({
  cond_stage_model: embedder,
}: Pick<LatentDiffusion, 'cond_stage_model'>): void {
  const { transformer } = embedder as BertEmbedder;
  for (const { weight } of [transformer.token_emb, transformer.pos_emb.emb])
    normal_(weight, 0, 0.5);
  constant_(transformer.norm.weight, 4);
}

/**
 * Blocks whose last layers do not begin at zero: where they do, as the original's, little of what queries could know
 * of their places, and of what the tokens say, gets through at first.
 */
function wakeBlocks({ model }: LatentDiffusion): void {
  for (const [name, weight] of model.namedParameters())
    if (/proj_out\.weight$|out_layers\.3\.weight$/.test(name))
      normal_(weight, 0, (weight.numel / weight.shape[0]) ** -0.5);
}

export const layout: TaskStudy = {
  name: 'layout',
  title: 'Layout to image',
  claim: {
    metric: 'boxes of unseen layouts that hold what was asked for',
    baseline: 'the same pictures, judged by other layouts',
    margin: 25,
    unit: '%',
    higherIsBetter: true,
  },
  async run(context) {
    const { folder, seed, scale, signal } = context;
    const heldOut = await loadStickers({ heldOut: true });
    const training = await loadStickers({ heldOut: false });
    const { model, record } = await trainLayouts(context, training);
    const steps = Math.max(2, Math.round(judgeSteps * scale));
    const judge = await Judge.train({ stickers: training, steps, seed, signal });
    const count = group * Math.max(1, Math.round(8 * scale));
    return tidy(async () => {
      const canvases = fullCanvases(heldOut, count, seed + 1);
      const others = canvases.map((_, i) => canvases[(i + 1) % count]);
      const made = await samples(model, canvases, context, guidance);
      const real = picturesOf(canvases);
      const right = (pictures: Tensor, layouts = canvases) => shareRight(judge, pictures, layouts);
      await drawLayouts(folder, canvases, made, real);
      const result = {
        value: await right(made),
        baseline: await right(made, others),
        more: [
          {
            name: 'the same without guidance',
            value: await right(await samples(model, canvases, context, 1)),
            unit: '%',
          },
          {
            name: 'held-out canvases themselves: the most that the judge grants',
            value: await right(real),
            baseline: await right(real, others),
            unit: '%',
          },
          {
            name: 'held-out canvases through the first stage',
            value: await right(reconstructed(model.first_stage_model, real)),
            unit: '%',
          },
        ],
        pictures: [
          {
            file: 'layouts.png',
            caption:
              'From the top: layouts of canvases that were held out, pictures of them, and these canvases',
          },
        ],
        trainings: [record],
      };
      judge.dispose();
      model.dispose();
      return result;
    });
  },
};

/** Canvases with two objects at least: where the second finds no place a canvas is passed over. */
function fullCanvases(stickers: StickerSet, count: number, seed: number): Canvas[] {
  const canvases: Canvas[] = [];
  for (let i = 0; canvases.length < count; ++i) {
    const canvas = makeCanvas(stickers, i, { ...scenes, seed });
    if (canvas.boxes.length > 1) canvases.push(canvas);
  }
  return canvases;
}

async function trainLayouts(
  context: StudyContext,
  stickers: StickerSet,
): Promise<TrainedDiffusion> {
  const { seed } = context;
  const data = new DataLoader(canvasDataset(stickers, { ...trainingScenes, seed, count: 50_000 }), {
    batchSize: 16,
    seed,
    transform: { size: canvasSide },
    condition: new LayoutConditions(tokens),
    workers: 0,
  });
  try {
    const spec = layoutSpec(await context.firstStage());
    const budget = { steps: 1600, learningRate: 7e-4, unconditionalProbability: 0.1 };
    return await context.train({
      ...{ name: 'layout', spec, data, ...budget },
      initialize(model) {
        emphasizeTokens(model);
        wakeBlocks(model);
      },
    });
  } finally {
    await data.dispose();
  }
}

// In shares of the canvas.
const objectsOf = ({ boxes, width, height }: Canvas): LayoutObject[] =>
  boxes.map((box) => ({
    category: box.label,
    x: box.x / width,
    y: box.y / height,
    width: box.width / width,
    height: box.height / height,
  }));

/** A picture of each canvas's layout. */
async function samples(
  model: LatentDiffusion,
  canvases: readonly Canvas[],
  { seed, signal }: StudyContext,
  scale: number,
): Promise<Tensor> {
  const parts: Tensor[] = [];
  for (let from = 0; from < canvases.length; from += group) {
    const part = canvases.slice(from, from + group);
    const { images } = await model.sample({
      condition: layoutIds(
        tokens,
        part.map((canvas) => ({ objects: objectsOf(canvas) })),
      ),
      guidance: scale,
      ...sampling,
      seed: part.map((_, i) => seed + from + i),
      signal,
    });
    parts.push(images!);
  }
  return clamp(concat(parts, 0), -1, 1);
}

const picturesOf = (canvases: readonly Canvas[]): Tensor =>
  stack(
    canvases.map(({ pixels, width, height }) =>
      tensor(
        Float32Array.from(pixels, (byte) => byte / 127.5 - 1),
        { shape: [height, width, 3] },
      ),
    ),
  );

function reconstructed(stage: FirstStage, pictures: Tensor): Tensor {
  return noGrad(() => clamp(stage.decodeLatents(stage.encodeToLatents(pictures)), -1, 1));
}

/** Of all boxes, those whose object the judge finds there, in percent. */
async function shareRight(
  judge: Judge,
  pictures: Tensor,
  canvases: readonly Canvas[],
): Promise<number> {
  let [right, total] = [0, 0];
  for (const [i, { boxes }] of canvases.entries()) {
    const found = await judge.classify(await pixelsOf(pictures, i), boxes);
    right += found.filter((label, k) => label === boxes[k].label).length;
    total += boxes.length;
  }
  return (100 * right) / total;
}

// Twice as large as they are, so that the labels can be read.
async function drawLayouts(
  folder: string,
  canvases: readonly Canvas[],
  made: Tensor,
  real: Tensor,
): Promise<void> {
  const size = 2 * canvasSide;
  const count = Math.min(shown, canvases.length);
  const drawn: Tensor[] = [];
  for (const [i, canvas] of canvases.slice(0, count).entries()) {
    const file = join(folder, `layout-${i}.png`);
    const boxes = objectsOf(canvas).map((object) => {
      return { ...object, label: canvasClasses[object.category] };
    });
    await writeBoxes(file, boxes, { width: size, height: size });
    drawn.push(await readImage(file));
  }
  const enlarged = (x: Tensor) =>
    resize(x.narrow(0, 0, count), { size: [size, size], mode: 'nearest' });
  const rows = concat([stack(drawn), enlarged(made), enlarged(real)], 0);
  await writeImage(join(folder, 'layouts.png'), await makeGrid(rows, { nrow: count }));
}
