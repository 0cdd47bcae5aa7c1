// The work of `emulsion layout2img`: layouts from files, pictures of them, and the boxes beside each.
import { FileError } from '../errors.js';
import { readClassNames } from '../io/class_names.js';
import { writeBoxes } from '../io/draw_boxes.js';
import { drawingSize } from '../io/drawing.js';
import { isRecord, parseJson } from '../io/json.js';
import { readSmallFile } from '../io/positional.js';
import {
  latentSize,
  layoutIds,
  layoutObjects,
  layoutVocabulary,
  type ConditionerSpec,
  type LayoutObject,
  type LayoutTokens,
  type WantedBox,
} from '../ldm/index.js';
import { needsEmptyLayout } from '../ldm/tasks/layout_to_image.js';
import type { LayoutCommandOptions } from './layout2img.js';
import { refuseOtherTask } from './other_task.js';
import { openForSampling, runPictures } from './picture_run.js';
import { UsageError } from './run.js';
import { pixelSize } from './sampling_options.js';

const largestLayout = 2 ** 20;

/** Makes the pictures. Ctrl-C leaves those that are finished. */
export async function layoutPictures(options: LayoutCommandOptions): Promise<void> {
  const { layout: files, count } = options;
  const wanted: WantedBox[][] = [];
  for (const file of files) wanted.push(await readLayout(file));
  let scene: Scene | undefined;
  const opened = await openForSampling(options, async (spec, path) => {
    refuseOtherTask(options.model, spec, 'layout2img');
    scene = sceneOf(spec.conditioner!, await readClassNames(path, options.classNames), options);
    for (const [i, boxes] of wanted.entries()) addLayout(scene, boxes, files[i]);
  });
  const { tokens, names, layouts } = scene!;
  const layoutOf = (picture: number): LayoutObject[] => layouts[Math.floor(picture / count)];
  const ids = (pictures: readonly number[], objectsOf: (picture: number) => LayoutObject[]) =>
    layoutIds(
      tokens,
      pictures.map((picture) => ({ objects: objectsOf(picture) })),
    );
  const size = pixelSize(options.size);
  const latents = size && latentSize('layout2img', opened.model, size);
  const drawing = size && drawingSize({ height: size[0], width: size[1] });
  await runPictures(opened, options, {
    total: count * layouts.length,
    settings: { layouts: files, perLayout: count, size },
    ...(latents && { sampling: () => ({ size: latents }) }),
    condition: (pictures) => ids(pictures, layoutOf),
    ...(needsEmptyLayout(opened.model.conditioner) && {
      unconditional: (pictures) => ids(pictures, () => []),
    }),
    written: (picture, path) =>
      writeBoxes(
        path.replace(/\.png$/, '_boxes.png'),
        layoutOf(picture).map((object) => ({ ...object, label: names[object.category] })),
        drawing,
      ),
    ...(layouts.length > 1 && { perRow: count }),
  });
}

/** What the model's tokens say, and the layouts that are wanted of it. */
interface Scene {
  readonly tokens: LayoutTokens;
  readonly names: readonly string[];
  readonly layouts: LayoutObject[][];
}

function sceneOf(
  conditioner: ConditionerSpec,
  names: readonly string[],
  { model }: LayoutCommandOptions,
): Scene {
  if (names.length === 0)
    throw new UsageError(
      `${model} does not say what its categories are called: give --class-names, a file with their names in the ` +
        "training's order, a line each.",
    );
  return { tokens: layoutVocabulary(conditioner, names.length), names, layouts: [] };
}

function addLayout({ tokens, names, layouts }: Scene, boxes: WantedBox[], file: string): void {
  layouts.push(told(file, () => layoutObjects(tokens, boxes, names)));
}

// What is wrong with a layout is said with the file that it comes from.
function told<T>(file: string, use: () => T): T {
  try {
    return use();
  } catch (error) {
    throw new FileError((error as Error).message.replace(/^layoutToImage: /, ''), file, undefined, {
      cause: error,
    });
  }
}

/** Boxes in shares of their picture. @throws FileError that names the entry that is wrong */
async function readLayout(file: string): Promise<WantedBox[]> {
  const bytes = await readSmallFile(file, largestLayout, 'a layout');
  const fail = (message: string): never => {
    throw new FileError(message, file);
  };
  const layout = parseJson(bytes.toString(), file);
  const { boxes, width, height, ...rest } = (isRecord(layout) ? layout : {}) as Layout;
  if (!Array.isArray(boxes)) return fail('expected {"boxes": [{"category": ..., "box": [...]}]}.');
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined)
    fail(`unknown key "${unknown}": known are boxes, and width and height for boxes in pixels.`);
  const isSide = (value: unknown) => Number.isFinite(value) && (value as number) > 0;
  const inPixels = width !== undefined || height !== undefined;
  if (inPixels && !(isSide(width) && isSide(height)))
    fail('width and height must be numbers above 0, both or none.');
  const [w, h] = inPixels ? [width as number, height as number] : [1, 1];
  return boxes.map((entry: unknown, i) => {
    const { category, box } = (isRecord(entry) ? entry : {}) as Partial<Record<string, unknown>>;
    if (typeof category !== 'string' && typeof category !== 'number')
      return fail(`boxes[${i}].category must be a name or a number.`);
    if (!Array.isArray(box) || box.length !== 4 || !box.every(Number.isFinite))
      return fail(`boxes[${i}].box must be four numbers: x, y, width, height.`);
    const [x, y, boxWidth, boxHeight] = box as number[];
    return { category, x: x / w, y: y / h, width: boxWidth / w, height: boxHeight / h };
  });
}

interface Layout {
  boxes?: unknown;
  width?: unknown;
  height?: unknown;
}
