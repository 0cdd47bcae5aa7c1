// A judge of pictures made in the studies: a small classifier of what lies in a square, trained on the objects of
// training canvases, and on places where nothing is. How far it is right about real canvases that it has not seen
// is the ceiling of whatever it is asked about.
import {
  AdamW,
  argmax,
  Conv2d,
  crossEntropy,
  GroupNorm,
  LambdaLR,
  Linear,
  manualSeed,
  Module,
  noGrad,
  noise,
  tensor,
  tidy,
  type Pixels,
  type Tensor,
} from '../../../lib/index.js';
import { uniforms } from '../../../lib/data/philox.js';
import { resizePixels } from '../../../lib/data/resize.js';
import { risingAndFalling } from '../training.js';
import { canvasClasses, makeCanvas, type Canvas, type StickerSet } from './canvases.js';

/** Pixels of a square that the judge looks at. */
const side = 32;
const batch = 48;
const stream = 0x6a64_0001;
const tries = 12;

/** What the judge says where it sees none of `canvasClasses`. */
export const nothing = canvasClasses.length;

/** A rectangle of a picture, in its pixels. */
export interface Place {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

class Classifier extends Module<[Tensor], Tensor> {
  readonly conv_in = new Conv2d(3, 24, { kernelSize: 3, stride: 2, padding: 1 });
  readonly norm_in = new GroupNorm(8, 24, { activation: 'silu' });
  readonly conv_middle = new Conv2d(24, 48, { kernelSize: 3, stride: 2, padding: 1 });
  readonly norm_middle = new GroupNorm(8, 48, { activation: 'silu' });
  readonly conv_out = new Conv2d(48, 96, { kernelSize: 3, stride: 2, padding: 1 });
  readonly norm_out = new GroupNorm(8, 96, { activation: 'silu' });
  readonly classes = new Linear(96, canvasClasses.length + 1);

  /** @param x squares [N, 32, 32, 3] in [-1, 1] @returns logits [N, classes] */
  forward(x: Tensor): Tensor {
    let h = this.norm_in.forward(this.conv_in.forward(x));
    h = this.norm_middle.forward(this.conv_middle.forward(h));
    h = this.norm_out.forward(this.conv_out.forward(h));
    return this.classes.forward(h.mean([1, 2]));
  }
}

/** Tells what lies in places of pictures. */
export class Judge {
  private constructor(private readonly network: Classifier) {}

  /**
   * Trains a judge, which takes seconds. Its squares are moved and resized a little, blurred and noisy now and
   * then: pictures of a small model are.
   */
  static async train(options: {
    stickers: StickerSet;
    steps: number;
    seed: number;
    signal?: AbortSignal;
  }): Promise<Judge> {
    const { stickers, steps, seed, signal } = options;
    manualSeed(seed);
    const network = new Classifier();
    const optimizer = new AdamW(network.parameters(), { lr: 3e-3 });
    const schedule = new LambdaLR(optimizer, risingAndFalling(steps));
    for (let step = 0; step < steps; ++step) {
      signal?.throwIfAborted();
      await tidy(async () => {
        const examples = trainingSquares(stickers, seed, step);
        const labels = BigInt64Array.from(examples, ({ label }) => BigInt(label));
        const clean = stacked(examples.map(({ square }) => square));
        const strength = 0.15 * (step % 3);
        const x = clean.add(noise(clean.shape, { seed, step }).mul(strength));
        crossEntropy(network.forward(x), tensor(labels)).backward();
        optimizer.step();
        optimizer.zeroGrad();
        schedule.step();
        await clean.device.synchronize();
      });
    }
    return new Judge(network.eval());
  }

  /** What lies in each place of a picture: numbers of `canvasClasses`, or {@link nothing}. */
  async classify(picture: Pixels, places: readonly Place[]): Promise<number[]> {
    if (places.length === 0) return [];
    const squares = places.map((place) => squareAround(picture, place));
    return tidy(async () => {
      const logits = noGrad(() => this.network.forward(stacked(squares)));
      return Array.from((await argmax(logits, 1).data()) as ArrayLike<number | bigint>, Number);
    });
  }

  dispose(): void {
    this.network.dispose();
  }
}

/** A picture of a batch [N, H, W, 3] in [-1, 1] as bytes. */
export async function pixelsOf(pictures: Tensor, index: number): Promise<Pixels> {
  const [, height, width] = pictures.shape;
  const values = await tidy(async () => pictures.select(0, index).data());
  const data = Uint8Array.from(values as Float32Array, (value) =>
    Math.min(255, Math.max(0, Math.round(127.5 * (value + 1)))),
  );
  return { data, width, height, channels: 3 };
}

interface Example {
  readonly square: Pixels;
  readonly label: number;
}

// A batch of objects in canvases that no other step sees, about one in eight a place without any.
function trainingSquares(stickers: StickerSet, seed: number, step: number): Example[] {
  const examples: Example[] = [];
  for (let index = step * batch; examples.length < batch; ++index) {
    const canvas = makeCanvas(stickers, index, { seed: seed + 1 });
    const picture: Pixels = { ...canvas, data: canvas.pixels, channels: 3 };
    for (const [i, box] of canvas.boxes.entries()) {
      const [right, down, wider, blur] = uniforms(seed, stream, index, i);
      const grown = 0.9 + 0.2 * wider;
      const place = {
        x: box.x + 0.2 * (right - 0.5) * box.width,
        y: box.y + 0.2 * (down - 0.5) * box.height,
        width: box.width * grown,
        height: box.height * grown,
      };
      const square = squareAround(picture, place);
      examples.push({ square: blur < 0.3 ? blurred(square) : square, label: box.label });
    }
    const empty = index % 3 === 0 ? emptyPlace(canvas, seed, index) : undefined;
    if (empty) examples.push({ square: squareAround(picture, empty), label: nothing });
  }
  return examples.slice(0, batch);
}

// A place of an object's size that at most touches objects.
function emptyPlace(
  { map, width, height }: Canvas,
  seed: number,
  index: number,
): Place | undefined {
  for (let attempt = 0; attempt < tries; ++attempt) {
    const [right, down, larger] = uniforms(seed, stream + 1, index, attempt);
    const size = 20 + Math.floor(12 * larger);
    const [x, y] = [Math.floor(right * (width - size)), Math.floor(down * (height - size))];
    let covered = 0;
    for (let row = y; row < y + size; ++row)
      for (let column = x; column < x + size; ++column)
        covered += Number(map[row * width + column] > 0);
    if (covered < 0.15 * size ** 2) return { x, y, width: size, height: size };
  }
  return undefined;
}

// The square with the place in its middle, white beyond the picture, at the judge's size.
function squareAround(picture: Pixels, place: Place): Pixels {
  const extent = Math.max(1, Math.round(Math.max(place.width, place.height)));
  const left = Math.round(place.x + (place.width - extent) / 2);
  const top = Math.round(place.y + (place.height - extent) / 2);
  const data = new Uint8Array(extent * extent * 3).fill(255);
  for (let row = 0; row < extent; ++row) {
    const y = top + row;
    const [from, to] = [Math.max(0, left), Math.min(picture.width, left + extent)];
    if (y < 0 || y >= picture.height || from >= to) continue;
    const begin = (y * picture.width + from) * 3;
    const line = picture.data.subarray(begin, begin + (to - from) * 3);
    data.set(line, (row * extent + from - left) * 3);
  }
  const cut: Pixels = { data, width: extent, height: extent, channels: 3 };
  return resizePixels(cut, side, side, 'bilinear');
}

const blurred = (square: Pixels): Pixels =>
  resizePixels(resizePixels(square, side / 2, side / 2, 'bilinear'), side, side, 'bilinear');

function stacked(squares: readonly Pixels[]): Tensor {
  const bytes = side * side * 3;
  const values = new Float32Array(squares.length * bytes);
  squares.forEach(({ data }, n) =>
    data.forEach((byte, i) => (values[n * bytes + i] = byte / 127.5 - 1)),
  );
  return tensor(values, { shape: [squares.length, side, side, 3] });
}
