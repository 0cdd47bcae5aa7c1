// How the training sees drawings: never twice the same, and never so clean that a picture out of an autoencoder
// or a diffusion model would look foreign for its blur and grain alone.
import { clamp, noise, resize, tensor, tidy, type Tensor } from '../../lib/index.js';
import { random } from '../demo/batches.js';
import { side, type EmojiSet } from '../demo/emoji.js';

const rowBytes = side * 3;
const pictureBytes = side * rowBytes;
const stream = 11;
const largestShift = 6;
const scales = [0.8, 1.15] as const;
const largestGrain = 0.12;

/** A batch [N, 64, 64, 3] in about [-1, 1]: a function of the pictures, the seed and the step alone. */
export function augmentedBatch(
  set: EmojiSet,
  indices: readonly number[],
  { seed, step }: { seed: number; step: number },
): Tensor {
  const draw = random(seed, stream, step);
  const count = indices.length;
  const values = new Float32Array(count * pictureBytes);
  indices.forEach((index, n) => {
    const picture = set.pixels.subarray(index * pictureBytes, (index + 1) * pictureBytes);
    moved(picture, values.subarray(n * pictureBytes, (n + 1) * pictureBytes), draw);
  });
  // Half of the pictures stay sharp, and half without grain.
  const perPicture = (largest: number): Tensor => {
    const shares = Float32Array.from({ length: count }, () => Math.max(0, 2 * draw() - 1));
    return tensor(shares, { shape: [count, 1, 1, 1] }).mul(largest);
  };
  return tidy(() => {
    const sharp = tensor(values, { shape: [count, side, side, 3] });
    const half = resize(sharp, { size: [side / 2, side / 2], mode: 'area' });
    const blurred = resize(half, { size: [side, side], mode: 'bilinear' });
    const x = sharp.add(blurred.sub(sharp).mul(perPicture(1)));
    return clamp(
      x.add(noise(x.shape, { seed, stream, step }).mul(perPicture(largestGrain))),
      -1,
      1,
    );
  });
}

// Mirrored or not, scaled and shifted, with bilinear interpolation; what comes from outside is white.
function moved(picture: Uint8Array, result: Float32Array, draw: () => number): void {
  const mirrored = draw() < 0.5;
  const scale = scales[0] + (scales[1] - scales[0]) * draw();
  const [shiftX, shiftY] = [draw(), draw()].map((share) => largestShift * (2 * share - 1));
  const middle = (side - 1) / 2;
  const value = (x: number, y: number, c: number): number =>
    x < 0 || y < 0 || x >= side || y >= side ? 255 : picture[y * rowBytes + x * 3 + c];
  for (let y = 0, at = 0; y < side; y++) {
    const sourceY = middle + (y - middle - shiftY) / scale;
    const [top, down] = [Math.floor(sourceY), sourceY - Math.floor(sourceY)];
    for (let x = 0; x < side; x++) {
      const unmirrored = middle + (x - middle - shiftX) / scale;
      const sourceX = mirrored ? side - 1 - unmirrored : unmirrored;
      const [left, across] = [Math.floor(sourceX), sourceX - Math.floor(sourceX)];
      for (let c = 0; c < 3; c++, at++) {
        const above = (1 - across) * value(left, top, c) + across * value(left + 1, top, c);
        const below = (1 - across) * value(left, top + 1, c) + across * value(left + 1, top + 1, c);
        result[at] = ((1 - down) * above + down * below) / 127.5 - 1;
      }
    }
  }
}
