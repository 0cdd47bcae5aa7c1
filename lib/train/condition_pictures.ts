// What samples are conditioned on, drawn beside them: words, boxes, maps of labels, small and masked pictures.
import { tensor } from '../creation.js';
import type { ConditionSource, ConditionWords } from '../data/index.js';
import { isFloating } from '../dtype.js';
import { drawBoxes } from '../io/draw_boxes.js';
import { drawText } from '../io/draw_text.js';
import { drawingSize } from '../io/drawing.js';
import { makeGrid } from '../io/index.js';
import type { ConditionInput } from '../ldm/index.js';
import { isHybrid } from '../ldm/conditioning/condition_input.js';
import { clamp, matmul, stack } from '../ops/index.js';
import { Tensor } from '../tensor.js';

/** Who knows what a condition says. */
export interface ConditionWordsOptions {
  /** What tokens say. Default: they are not drawn. */
  describe?: ConditionSource['describe'];
  /** Names of classes by their ids. Default: their numbers. */
  classNames?: readonly string[];
}

/**
 * Grids [H, W, 3] by name, each a row of a batch's conditions: `conditioning` and, of tokens beside a map,
 * `conditioning_text`. Embeddings show nothing.
 *
 * @param size height and width of the pictures
 */
export async function conditionPictures(
  condition: ConditionInput,
  size: readonly [height: number, width: number],
  words: ConditionWordsOptions,
): Promise<Record<string, Tensor>> {
  if (isHybrid(condition)) {
    const { concat, crossattn } = condition;
    const { conditioning } = await conditionPictures(concat, size, words);
    const { conditioning: text } = await conditionPictures(crossattn, size, words);
    return { ...(conditioning && { conditioning }), ...(text && { conditioning_text: text }) };
  }
  if (!(condition instanceof Tensor)) return conditionPictures(condition.image, size, words);
  const drawn =
    condition.rank === 4 ? shown(condition) : await drawnWords(await said(condition, words), size);
  if (!drawn) return {};
  return { conditioning: await makeGrid(clamp(drawn, -1, 1), { nrow: drawn.shape[0] }) };
}

// A map with a channel for each label has a colour for each, as the original's has a random one.
function shown(map: Tensor): Tensor {
  const [N, H, W, C] = map.shape;
  if (C === 1 || C === 3) return map;
  const colours = Array.from({ length: C }, (_, label) => colourOf(label)).flat();
  const table = tensor(Float32Array.from(colours), { shape: [C, 3], device: map.device });
  return matmul(map.to('float32').reshape([N * H * W, C]), table).reshape([N, H, W, 3]);
}

// Hues a golden angle apart: those of neighbours differ, and none comes twice.
const colourOf = (label: number): number[] =>
  [0, 1, 2].map((part) => Math.cos(2 * Math.PI * (label * 0.381966 + part / 3)));

/** One entry for each picture, or none where nobody knows. */
async function said(
  ids: Tensor,
  { describe, classNames = [] }: ConditionWordsOptions,
): Promise<readonly ConditionWords[]> {
  if (isFloating(ids.dtype) || ids.rank < 1 || ids.rank > 2) return [];
  const numbers = Array.from((await ids.data()) as BigInt64Array | Int32Array, Number);
  if (ids.rank === 1) return numbers.map((id) => classNames[id] ?? `class ${id}`);
  const [N, T] = ids.shape;
  const rows = Array.from({ length: N }, (_, n) => numbers.slice(n * T, (n + 1) * T));
  return describe?.(rows) ?? [];
}

async function drawnWords(
  words: readonly ConditionWords[],
  [height, width]: readonly [number, number],
): Promise<Tensor | null> {
  if (words.length === 0) return null;
  const size = drawingSize({ width, height });
  const drawn: Tensor[] = [];
  for (const each of words)
    drawn.push(await (typeof each === 'string' ? drawText(each, size) : drawBoxes(each, size)));
  return stack(drawn);
}
