// The work of `emulsion semantic2img`: pictures of label maps, each a function of its map and its seed.
import { tensor } from '../creation.js';
import { checkLabelOptions, labelsOf } from '../data/conditions/segmentation.js';
import { cutLabels, loadLabelMap, readColourMap } from '../data/label_map.js';
import type { Pixels } from '../data/pixels.js';
import { ArgumentError } from '../errors.js';
import {
  SemanticCanvas,
  semanticLabels,
  type LatentDiffusion,
  type LatentDiffusionSpec,
  type PatchOptions,
} from '../ldm/index.js';
import { latentStep } from '../ldm/tasks/pictures.js';
import { concat } from '../ops/index.js';
import type { Tensor } from '../tensor.js';
import { refuseOtherTask } from './other_task.js';
import { openForSampling, refuseMixedSizes, runPictures } from './picture_run.js';
import { UsageError } from './run.js';
import type { SizeOption } from './sampling_options.js';
import type { Semantic2imgOptions } from './semantic2img.js';

/** A map that is read, and what the model needs of its size. */
interface Scene {
  readonly labels: Int32Array;
  readonly canvas: SemanticCanvas;
}

/** Makes the pictures. Ctrl-C leaves those that are finished. */
export async function semantic2img(options: Semantic2imgOptions): Promise<void> {
  const { map: files, count, size, whole, patch, colours, ignore, shift } = options;
  const { guidance = 1 } = options;
  if (whole && patch !== undefined) throw new UsageError('give either --whole or --patch.');
  const opened = await openForSampling(options, (spec) => refuseOther(spec, options));
  const { model } = opened;
  const patches = whole ? null : patchesOf(model, patch);
  const scenes = await readScenes(model, patches, options);
  const sizeOf = (scene: number) => scenes[scene].canvas.size.join(' x ');
  refuseMixedSizes(options, scenes.length, sizeOf, 'give --size');
  const sceneOf = (picture: number) => scenes[Math.floor(picture / count)];
  await runPictures(opened, options, {
    total: count * files.length,
    perRow: count,
    settings: { maps: files, perMap: count, size, patch, whole, colours, ignore, shift },
    alone: scenes.some(({ canvas }) => canvas.sampling.patches !== undefined),
    kind: (picture) => sceneOf(picture).canvas.size.join(),
    sampling: (pictures) => {
      const { canvas } = sceneOf(pictures[0]);
      const maps = pictures.map((picture) => mapOf(sceneOf(picture)));
      return {
        ...canvas.sampling,
        conditioning: canvas.conditioning(concat(maps)),
        ...(guidance !== 1 && { unconditionalConditioning: canvas.nothing(pictures.length) }),
      };
    },
    decode: (picture, latents) => sceneOf(picture).canvas.decode(latents),
  });
}

const mapOf = ({ labels, canvas: { size } }: Scene): Tensor =>
  tensor(labels, { shape: [1, ...size] });

function refuseOther(spec: LatentDiffusionSpec, options: Semantic2imgOptions): void {
  const { ignore, shift } = options;
  refuseOtherTask(options.model, spec, 'semantic2img');
  try {
    checkLabelOptions({ labels: semanticLabels(spec), ignore, shift });
  } catch (error) {
    if (!(error instanceof ArgumentError)) throw error;
    throw new UsageError(`${options.model}: ${error.message}`);
  }
}

// What the network can take: whole latents, which its levels halve.
function patchesOf(
  { spec, first_stage_model }: LatentDiffusion,
  patch?: number,
): PatchOptions | undefined {
  if (patch === undefined) return undefined;
  const factor = first_stage_model.downsampling * latentStep(spec);
  if (patch % factor !== 0)
    throw new UsageError(
      `--patch must be a multiple of ${factor} pixels for this model, got ${patch}.`,
    );
  return { ks: patch / first_stage_model.downsampling };
}

async function readScenes(
  model: LatentDiffusion,
  patches: PatchOptions | null | undefined,
  { map: files, size, ignore, shift, colours: colourFile }: Semantic2imgOptions,
): Promise<Scene[]> {
  const meaning = { labels: semanticLabels(model.spec), ignore, shift };
  const colours = colourFile === undefined ? undefined : await readColourMap(colourFile);
  const scenes: Scene[] = [];
  for (const file of files) {
    const map = await loadLabelMap({ file }, file, { colours });
    const [height, width] = sidesOf(map, size);
    const window = { x: 0, y: 0, width: map.width, height: map.height, mirrored: false };
    const bytes = cutLabels(map, window, [height, width]);
    const labels = labelsOf(bytes, width, meaning, file);
    scenes.push({ labels, canvas: new SemanticCanvas(model, [height, width], { patches }) });
  }
  return scenes;
}

function sidesOf({ height, width }: Pixels, size?: SizeOption): readonly [number, number] {
  if (size === undefined) return [height, width];
  if (typeof size !== 'number') return [size[1], size[0]];
  const scale = size / Math.min(height, width);
  return [Math.round(height * scale), Math.round(width * scale)];
}
