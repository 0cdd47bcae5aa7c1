// Semantic synthesis in small: emoji on canvases of 64 x 64 with a label for each pixel. Are samples where their
// maps say? And does a canvas larger than any of the training look like one picture?
import { join } from 'node:path';
import {
  DataLoader,
  makeGrid,
  segmentation,
  semanticToImage,
  stack,
  tensor,
  tidy,
  writeImage,
  type LatentDiffusion,
  type LatentDiffusionSpec,
  type PatchOptions,
  type Tensor,
} from '../../../lib/index.js';
import {
  canvasClasses,
  canvasDataset,
  loadStickers,
  makeCanvas,
  type Canvas,
  type StickerSet,
} from './canvases.js';
import { ofVelocity } from './emoji_model.js';
import { Judge } from './judge.js';
import type { Measured, SharedFirstStage, StudyContext, TaskResult, TaskStudy } from './study.js';

/** The background, and the classes of canvases. */
const labels = canvasClasses.length + 1;
const side = 64;
const batch = 16;
const canvasesInTraining = 50_000;
const canvasesMeasured = 64;
const shownInGrid = 8;
const sampledAtOnce = 8;
const judgeSteps = 300;
const sampling = { method: 'ddim', steps: 40 } as const;

export const semantic: TaskStudy = {
  name: 'semantic',
  title: 'Semantic synthesis',
  claim: {
    metric: 'IoU of what is drawn with what the map asks for, drawings held out',
    baseline: 'maps of other canvases',
    margin: 30,
    unit: '%',
    higherIsBetter: true,
  },
  run,
};

/** As the published semantic_synthesis models: the map, brought to the latents' size, is joined to them. */
function semanticSpec({ model, spec: firstStage }: SharedFirstStage): LatentDiffusionSpec {
  const { embedDim } = firstStage;
  const halvings = Math.log2(model.downsampling);
  const channelsOfMap = 8;
  return {
    unet: {
      imageSize: side / 2 ** halvings,
      inChannels: embedDim + channelsOfMap,
      outChannels: embedDim,
      modelChannels: 64,
      numResBlocks: 1,
      // none is reached, so that only the middle attends: such a network takes canvases of any size
      attentionResolutions: [8],
      channelMult: [1, 2],
      numHeadChannels: 32,
    },
    firstStage,
    conditioner: {
      kind: 'spatial-rescaler',
      nStages: halvings,
      inChannels: labels,
      outChannels: channelsOfMap,
    },
    conditioningKey: 'concat',
    conditionerTrainable: true,
    diffusion: { ...ofVelocity, linearStart: 0.0015, linearEnd: 0.0205, lossType: 'l2' },
    scaleByStd: true,
  };
}

async function run(context: StudyContext): Promise<TaskResult> {
  const { seed, scale, log } = context;
  const data = new DataLoader(
    canvasDataset(await loadStickers({ heldOut: false }), { seed, count: canvasesInTraining }),
    {
      batchSize: batch,
      transform: { size: side, flip: 0.5 },
      condition: segmentation({ labels }),
      seed,
      workers: 0,
    },
  );
  const { model, record } = await context.train({
    name: 'semantic',
    spec: semanticSpec(await context.firstStage()),
    data,
    steps: 2500,
    learningRate: 5e-4,
  });
  await data.dispose();

  const heldOut = await loadStickers({ heldOut: true });
  const scenes = Array.from(
    { length: Math.max(4, Math.round(canvasesMeasured * scale)) },
    (_, i) => {
      return makeCanvas(heldOut, i, { seed: seed + 1 });
    },
  );
  log(`${scenes.length} canvases of drawings that were held out`);
  const samples = await sampled(model, scenes, seed);
  const { value, baseline, more } = agreement(scenes, samples);
  more.push(...(await judged(context, model, scenes, samples)));
  const pictures = [await writeGrid(context, scenes, samples)];
  for (const large of largeCanvases(scale)) {
    const { picture, seams } = await writeLarge(context, model, heldOut, large);
    pictures.push(picture);
    more.push(...seams);
  }
  model.dispose();
  return { value, baseline, more, pictures, trainings: [record] };
}

/** Pictures as bytes [height, width, 3], each of its own seed; all scenes have one size. */
async function sampled(
  model: LatentDiffusion,
  scenes: readonly Canvas[],
  seed: number,
  patches?: PatchOptions,
): Promise<Uint8Array[]> {
  const [{ width, height }] = scenes;
  const made: Uint8Array[] = [];
  for (let first = 0; first < scenes.length; first += sampledAtOnce)
    await tidy(async () => {
      const group = scenes.slice(first, first + sampledAtOnce);
      const ids = Int32Array.from(group.flatMap(({ map }) => [...map]));
      const { images } = await semanticToImage(model, {
        map: tensor(ids, { shape: [group.length, height, width] }),
        seed: group.map((_, i) => seed + first + i),
        ...{ patches, ...sampling },
      });
      const bytes = Uint8Array.from((await images!.data()) as Float32Array, (x) =>
        Math.min(255, Math.max(0, (x + 1) * 127.5)),
      );
      const length = bytes.length / group.length;
      group.forEach((_, i) => made.push(bytes.slice(i * length, (i + 1) * length)));
    });
  return made;
}

/** Darker than this in one channel, a pixel belongs to a drawing. */
const white = 224;

const isDrawn = (pixels: Uint8Array, i: number): boolean =>
  Math.min(pixels[3 * i], pixels[3 * i + 1], pixels[3 * i + 2]) < white;

/** Share of the pixels of drawing or map that both have, over all canvases. */
function drawnIou(pictures: readonly Uint8Array[], maps: readonly Uint8Array[]): number {
  let [both, either] = [0, 0];
  maps.forEach((map, n) =>
    map.forEach((label, i) => {
      const [drawn, asked] = [isDrawn(pictures[n], i), label > 0];
      if (drawn && asked) both += 1;
      if (drawn || asked) either += 1;
    }),
  );
  return (100 * both) / either;
}

function agreement(
  scenes: readonly Canvas[],
  samples: readonly Uint8Array[],
): Pick<TaskResult, 'value' | 'baseline'> & { more: Measured[] } {
  const maps = scenes.map(({ map }) => map);
  const others = maps.map((_, i) => maps[(i + 1) % maps.length]);
  const real = scenes.map(({ pixels }) => pixels);
  return {
    value: drawnIou(samples, maps),
    baseline: drawnIou(samples, others),
    more: [
      {
        name: 'the same IoU of the canvases themselves, whose drawings have white parts',
        value: drawnIou(real, maps),
        baseline: drawnIou(real, others),
        unit: '%',
      },
    ],
  };
}

/** Another class for each: what is asked for by the label alone, its outline being that of the class before. */
const exchanged = (label: number): number => (label + 3) % canvasClasses.length;

/** The same outlines under exchanged labels. */
const relabelled = (scene: Canvas): Canvas => ({
  ...scene,
  map: scene.map.map((label) => (label === 0 ? 0 : exchanged(label - 1) + 1)),
  boxes: scene.boxes.map((box) => ({ ...box, label: exchanged(box.label) })),
});

/** Share of the objects that a judge, which never saw their drawings, takes for what the map calls them. */
async function judged(
  { seed, scale, signal }: StudyContext,
  model: LatentDiffusion,
  scenes: readonly Canvas[],
  samples: readonly Uint8Array[],
): Promise<Measured[]> {
  const stickers = await loadStickers({ heldOut: false });
  const steps = Math.max(2, Math.round(judgeSteps * scale));
  const judge = await Judge.train({ stickers, steps, seed, signal });
  const agreed = async (pictures: readonly Uint8Array[], asked: readonly Canvas[]) => {
    let [right, all] = [0, 0];
    for (const [i, data] of pictures.entries()) {
      const { boxes } = asked[i];
      const found = await judge.classify({ ...scenes[i], data, channels: 3 }, boxes);
      right += boxes.filter(({ label }, k) => label === found[k]).length;
      all += boxes.length;
    }
    return (100 * right) / all;
  };
  const real = scenes.map(({ pixels }) => pixels);
  const others = scenes.map((_, i) => scenes[(i + 1) % scenes.length]);
  const exchangedScenes = scenes.map(relabelled);
  const ofExchanged = await sampled(model, exchangedScenes, seed);
  const name = 'objects that a judge takes for what the map calls them';
  const measured = [
    { name, value: await agreed(samples, scenes), baseline: await agreed(samples, others) },
    {
      name: `${name}, in the canvases themselves`,
      value: await agreed(real, scenes),
      baseline: await agreed(real, others),
    },
    {
      name: `${name}, labels exchanged; baseline: for what their outlines were of`,
      value: await agreed(ofExchanged, exchangedScenes),
      baseline: await agreed(ofExchanged, scenes),
    },
  ];
  judge.dispose();
  return measured.map((each) => ({ ...each, unit: '%' }));
}

/** Red, green and blue of a label; the background is white. */
const colours = [
  [255, 255, 255],
  [250, 200, 40],
  [214, 39, 90],
  [140, 86, 75],
  [31, 119, 180],
  [44, 160, 44],
  [127, 127, 127],
  [148, 80, 189],
  [23, 190, 207],
] as const;

const toTensor = (bytes: ArrayLike<number>, { width, height }: Canvas): Tensor =>
  tensor(
    Float32Array.from(bytes, (byte) => byte / 127.5 - 1),
    { shape: [height, width, 3] },
  );
const drawnMap = (scene: Canvas): Tensor =>
  toTensor(Array.from(scene.map, (label) => [...colours[label]]).flat(), scene);

async function writeGrid(
  { folder }: StudyContext,
  scenes: readonly Canvas[],
  samples: readonly Uint8Array[],
): Promise<TaskResult['pictures'][number]> {
  const shown = scenes.slice(0, shownInGrid);
  const file = 'samples.png';
  await tidy(async () => {
    const rows = [
      shown.map(drawnMap),
      shown.map((scene, i) => toTensor(samples[i], scene)),
      shown.map((scene) => toTensor(scene.pixels, scene)),
    ];
    await writeImage(
      join(folder, file),
      await makeGrid(stack(rows.flat()), { nrow: shown.length }),
    );
  });
  return {
    file,
    caption: 'Maps of drawings held out, samples of them, and the canvases they are of',
  };
}

interface Large {
  readonly file: string;
  readonly width: number;
  readonly height: number;
  /** Sampled once more from patches that do not overlap, for what a seam is. */
  readonly control: boolean;
}

function largeCanvases(scale: number): readonly Large[] {
  const most = scale < 1 ? 3 * side : 16 * side;
  return [
    { file: 'square.png', width: 2 * side, height: 2 * side, control: true },
    { file: 'wide.png', width: 4 * side, height: side + side / 2, control: true },
    { file: 'huge.jpg', width: most, height: most, control: false },
  ];
}

async function writeLarge(
  { folder, seed }: StudyContext,
  model: LatentDiffusion,
  stickers: StickerSet,
  { file, width, height, control }: Large,
): Promise<{ picture: TaskResult['pictures'][number]; seams: Measured[] }> {
  const times = (width * height) / side ** 2;
  // Dense, so that what lies at borders of patches are objects.
  const objects = [6 * times, 6 * times] as const;
  const scene = makeCanvas(stickers, 0, { seed: seed + 2, width, height, objects });
  const ks = side / model.first_stage_model.downsampling;
  const halves = { ks, stride: ks / 2, batch: sampledAtOnce };
  const [sample] = await sampled(model, [scene], seed, halves);
  await tidy(async () => {
    const rows = stack([drawnMap(scene), toTensor(sample, scene)]);
    await writeImage(join(folder, file), await makeGrid(rows, { nrow: width > height ? 1 : 2 }));
  });
  const name = `jump at patch borders over that at other borders of latents, ${width} x ${height}`;
  const seams = [{ name, value: seamRatio(sample, scene), baseline: 1, unit: '' }];
  if (control) {
    const [cut] = await sampled(model, [scene], seed, { ...halves, stride: ks });
    const value = seamRatio(cut, scene, side);
    seams.push({ name: `${name}, patches that do not overlap`, value, baseline: 1, unit: '' });
  }
  const caption = `${width} x ${height} pixels, ${times} times the area of training: map and sample`;
  return { picture: { file, caption }, seams };
}

/** A latent is 4 pixels, so borders of patches, `every` so many pixels, are among those of latents. */
function seamRatio(
  pixels: Uint8Array,
  { width, height }: Canvas,
  every: number = side / 2,
): number {
  const [atPatch, elsewhere] = [
    { sum: 0, count: 0 },
    { sum: 0, count: 0 },
  ];
  const add = (position: number, at: number, before: number) => {
    if (position === 0 || position % 4 !== 0) return;
    const into = position % every === 0 ? atPatch : elsewhere;
    for (let c = 0; c < 3; ++c) into.sum += Math.abs(pixels[at + c] - pixels[before + c]);
    into.count += 3;
  };
  for (let y = 0; y < height; ++y)
    for (let x = 0; x < width; ++x) {
      const at = 3 * (y * width + x);
      add(x, at, at - 3);
      add(y, at, at - 3 * width);
    }
  return atPatch.sum / atPatch.count / (elsewhere.sum / elsewhere.count);
}
