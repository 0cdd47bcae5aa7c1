/** Holes in pictures as tensors: read from masks, padded, brought to latents, faded. */
import { check, checkShape } from '../../errors.js';
import {
  avgPool2d,
  concat,
  ge,
  logicalNot,
  maxPool2d,
  maximum,
  pad,
  resize,
  sum,
  where,
} from '../../ops/index.js';
import type { Tensor } from '../../tensor.js';

/** [N, H, W, 1]: 1 where something is to be made, else 0. */
export async function holesOf(mask: Tensor, image: Tensor, resizeMask: boolean): Promise<Tensor> {
  const shapes = () =>
    `Got an image of [${image.shape.join(', ')}] and a mask of [${mask.shape.join(', ')}].`;
  const [N, H, W] = image.shape;
  checkShape(
    image.rank === 4 &&
      mask.rank === 4 &&
      mask.shape[3] === 1 &&
      (mask.shape[0] === N || mask.shape[0] === 1) &&
      image.numel > 0 &&
      mask.numel > 0,
    () => `inpaint: an image is [N, H, W, C], its mask [N or 1, H, W, 1]. ${shapes()}`,
  );
  checkShape(resizeMask || (mask.shape[1] === H && mask.shape[2] === W), () => {
    return `inpaint: a mask has its image's size; resizeMask brings one of another size to it. ${shapes()}`;
  });
  const values = mask.to('float32');
  const [low, high] = await Promise.all([values.min().item(), values.max().item()]);
  check(low >= 0 && high <= 1, () => {
    return `inpaint: a mask's values lie in [0, 1], where 1 is to be made. Got values from ${low} to ${high}.`;
  });
  const fitting = resizeMask ? resize(values, { size: [H, W], mode: 'nearest' }) : values;
  const holes = ge(fitting, 0.5).to('float32');
  const each = await sum(holes, [1, 2, 3]).data();
  check(!each.includes(0 as never), () => {
    return 'inpaint: the mask has no hole: all of the picture is known. 1 (white) is what is to be made.';
  });
  return mask.shape[0] === N
    ? holes
    : concat(
        Array.from({ length: N }, () => holes),
        0,
      );
}

/** The picture or mask with its last rows and columns repeated until its sides are multiples. */
export function padded(x: Tensor, multiple: number): Tensor {
  const missing = (side: number) => (multiple - (side % multiple)) % multiple;
  const [, height, width] = x.shape;
  const pads = [
    [0, 0],
    [0, missing(height)],
    [0, missing(width)],
    [0, 0],
  ] as const;
  return pad(x, pads, { mode: 'replicate' });
}

/**
 * Holes filled with the mean of each picture's known pixels: what the encoder sees of them reaches into cells around.
 */
export function filledPlainly(image: Tensor, hole: Tensor): Tensor {
  const isHole = ge(hole, 0.5);
  const count = sum(logicalNot(isHole).to('float32'), [1, 2], { keepDims: true });
  const mean = sum(where(isHole, 0, image), [1, 2], { keepDims: true }).div(maximum(count, 1));
  return where(isHole, mean, image);
}

/** [N, H/f, W/f, 1]: 1 for cells that are wholly known. */
export function known(hole: Tensor, f: number): Tensor {
  return maxPool2d(hole, { kernel: f }).neg().add(1);
}

/** Known pixels within `seam` of a hole fade into made ones: holes are widened by half of it, and blurred over it. */
export function faded(image: Tensor, made: Tensor, hole: Tensor, seam: number): Tensor {
  const widened = across(maxPool2d, hole, Math.ceil(seam / 2));
  const share = across(avgPool2d, widened, Math.floor(seam / 2));
  return image.add(made.sub(image).mul(share));
}

// A square window in two passes, so that a wide one costs little.
function across(pool: typeof avgPool2d, x: Tensor, radius: number): Tensor {
  const extent = 2 * radius + 1;
  const rows = pool(x, { kernel: [extent, 1], stride: 1, padding: [radius, 0] });
  return pool(rows, { kernel: [1, extent], stride: 1, padding: [0, radius] });
}
