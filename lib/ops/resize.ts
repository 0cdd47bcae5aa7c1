import { op } from '../autograd/index.js';
import { checkFloating, checkRank, checkTensors } from '../checks.js';
import { check, checkShape } from '../errors.js';
import { native, type Id } from '../native.js';
import { empty, type Tensor } from '../tensor.js';
import { pair } from './pool.js';

// prettier-ignore
const kernels = native<{
  resize_forward(
    x: Id, mode: number, alignCorners: boolean, antialias: boolean, scaleH: number, scaleW: number, y: Id,
  ): void;
  resize_backward(
    dy: Id, mode: number, alignCorners: boolean, antialias: boolean, scaleH: number, scaleW: number, dx: Id,
  ): void;
}>('resize_forward', 'resize_backward');

// Numbers of the kernel's contract.
const modes = { nearest: 0, bilinear: 1, bicubic: 2, area: 3 } as const;

export interface ResizeOptions {
  /** Extents of the result, [height, width]. This or `scaleFactor`. */
  size?: readonly [number, number];
  /** Factor of the extents, for both or as [height, width]; the result has `floor(extent · factor)`. */
  scaleFactor?: number | readonly [number, number];
  /** `area` is the mean over the pixels that an output pixel covers. */
  mode: keyof typeof modes;
  /** Centres of corner pixels coincide (bilinear, bicubic). Default false: the images' edges do. */
  alignCorners?: boolean;
  /** Widens the kernel when shrinking (bilinear, bicubic; not with `alignCorners`). Default false. */
  antialias?: boolean;
}

/**
 * Resizes images as `torch.nn.functional.interpolate` does, number for number. With `size` the coordinates
 * are scaled by in/out; with `scaleFactor` by that factor, even where `extent · factor` is not whole.
 * Bicubic uses a = −0.75, antialiased −0.5.
 *
 * @param x [N, H, W, C]; float dtypes, `nearest` any (labels, masks).
 * @returns [N, height, width, C].
 * @throws ArgumentError for options that exclude each other; ShapeError for images without pixels.
 */
export function resize(x: Tensor, options: ResizeOptions): Tensor {
  checkTensors('resize', { x });
  checkRank('resize', 'x', x, 4);
  const { size, scaleFactor, mode, alignCorners = false, antialias = false } = options;
  check(
    Object.hasOwn(modes, mode),
    () => `resize: mode must be one of ${Object.keys(modes).join(', ')}, got ${String(mode)}`,
  );
  check(
    (size === undefined) !== (scaleFactor === undefined),
    () => 'resize: give either size or scaleFactor',
  );
  const smooth = mode === 'bilinear' || mode === 'bicubic';
  check(
    smooth || !(alignCorners || antialias),
    () => `resize: alignCorners and antialias are for bilinear and bicubic, not ${mode}`,
  );
  check(
    !(alignCorners && antialias),
    () => 'resize: alignCorners and antialias exclude each other; leave one out',
  );
  if (mode !== 'nearest') checkFloating('resize', { x });

  const [N, H, W, C] = x.shape;
  let extents: readonly [number, number];
  let scale: readonly [number, number] = [0, 0]; // zero: from the extents
  if (scaleFactor !== undefined) {
    scale = typeof scaleFactor === 'number' ? [scaleFactor, scaleFactor] : scaleFactor;
    check(
      scale.length === 2 && scale.every((factor) => factor > 1e-6 && factor < 1e6),
      () => `resize: scaleFactor must be positive, got ${String(scaleFactor)}`,
    );
    extents = [Math.floor(H * scale[0]), Math.floor(W * scale[1])];
  } else {
    extents = pair('resize', 'size', size!, 0);
  }
  checkShape(
    H > 0 && W > 0 && extents[0] > 0 && extents[1] > 0,
    () =>
      `resize: cannot resize ${x.describe()} to ${extents.join(' x ')} pixels; both need pixels`,
  );

  const y = empty([N, extents[0], extents[1], C], x);
  kernels.resize_forward(x.id, modes[mode], alignCorners, antialias, scale[0], scale[1], y.id);
  const { shape } = x;
  return op({
    name: 'resize',
    inputs: [x],
    output: y,
    backward([dy]) {
      const dx = empty(shape, dy);
      // prettier-ignore
      kernels.resize_backward(dy.id, modes[mode], alignCorners, antialias, scale[0], scale[1], dx.id);
      return [dx];
    },
  });
}

/** Doubles every pixel in both directions: [N, H, W, C] → [N, 2H, 2W, C]. The networks' upsampling. */
export function upsampleNearest2x(x: Tensor): Tensor {
  return resize(x, { scaleFactor: 2, mode: 'nearest' });
}
