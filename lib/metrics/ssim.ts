/** Structural similarity (Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment", 2004). */
import { tensor, zeros } from '../creation.js';
import { check, checkShape } from '../errors.js';
import { clamp, concat, conv2d, pad, permute, slice } from '../ops/index.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';
import { measure, type RangeOptions } from './measure.js';

/**
 * How the local means and variances are taken.
 *
 * - `gaussian`: 11x11 Gaussian window of σ 1.5, only windows that lie fully inside. The definition of the
 *   2004 paper; scikit-image's with `gaussian_weights`, `sigma=1.5`, `use_sample_covariance=False`.
 * - `uniform`: 7x7 box, variances divided by 48 instead of 49, only windows that lie fully inside.
 *   scikit-image's default.
 * - `reflected`: the Gaussian around every pixel of a picture mirrored at its borders, variances not below
 *   0. torchmetrics' default.
 */
export type SsimConvention = 'gaussian' | 'uniform' | 'reflected';

export interface SsimOptions extends RangeOptions {
  /** Default `gaussian`. */
  convention?: SsimConvention;
}

interface Window {
  /** Weights along one axis; the window is their product with themselves. */
  readonly taps: readonly number[];
  /** Turns weighted moments into variances. */
  readonly correction: number;
  readonly reflect: boolean;
}

const gaussianTaps = normalized(
  Array.from({ length: 11 }, (_, i) => Math.exp(-((i - 5) ** 2) / (2 * 1.5 ** 2))),
);
const windows: Readonly<Record<SsimConvention, Window>> = {
  gaussian: { taps: gaussianTaps, correction: 1, reflect: false },
  uniform: { taps: normalized(Array<number>(7).fill(1)), correction: 49 / 48, reflect: false },
  reflected: { taps: gaussianTaps, correction: 1, reflect: true },
};

// Strips of a large picture are compared one after the other, so that memory is bounded.
const valuesAtOnce = 2 ** 18;

/** Sides of the smallest picture that has a window. */
export const smallestPicture: Readonly<Record<SsimConvention, number>> = {
  gaussian: 11,
  uniform: 7,
  reflected: 6,
};

/**
 * Structural similarity of each pair of pictures, the mean over channels and windows: 1 for equal ones. It
 * compares brightness too, so it matters which value is black; see {@link RangeOptions}.
 *
 * The default, `gaussian`, is what the paper's comparison of autoencoders (its table 8) is to be read with:
 * it is the metric as first published, and what evaluation code of that time computes on 8-bit pictures.
 * `uniform` comes out a little different, `reflected` adds the borders.
 *
 * @param a [N, H, W, C]
 * @param b of the same shape
 * @returns [N], float32 (float64 for float64 pictures)
 * @throws ShapeError when no window fits into the pictures
 */
export function ssim(a: Tensor, b: Tensor, options: SsimOptions = {}): Tensor {
  const { convention = 'gaussian' } = options;
  check(Object.hasOwn(windows, convention), () => {
    const known = Object.keys(windows).join(', ');
    return `ssim: unknown convention '${convention}'. Known are ${known}.`;
  });
  const least = smallestPicture[convention];
  const window = windows[convention];
  return measure('ssim', a, b, options, (x, y, white) => {
    const [N, H, W] = a.shape;
    checkShape(Math.min(H, W) >= least, () => {
      return `ssim: '${convention}' needs pictures of at least ${least} x ${least}. Got ${H} x ${W}.`;
    });
    const [first, second] = [planes(x, window), planes(y, window)];
    const reach = window.taps.length - 1;
    const [B, rows, columns] = [first.shape[0], first.shape[1] - reach, first.shape[2] - reach];
    const atOnce = Math.max(1, Math.floor(valuesAtOnce / (B * columns)));
    let sum = zeros([N], x);
    for (let top = 0; top < rows; top += atOnce) {
      sum = tidy(() => {
        const strip = [null, [top, Math.min(top + atOnce, rows) + reach]] as const;
        const windowed = similarity(slice(first, strip), slice(second, strip), window, white);
        return sum.add(windowed.reshape([N, -1]).sum(1));
      });
    }
    return sum.div((B / N) * rows * columns);
  });
}

// Channels as pictures of their own, extended where the convention asks for it: [N C, H, W, 1].
function planes(x: Tensor, { taps, reflect }: Window): Tensor {
  const [N, H, W, C] = x.shape;
  const all = permute(x, [0, 3, 1, 2]).reshape([N * C, H, W, 1]);
  const sides = [(taps.length - 1) / 2, (taps.length - 1) / 2] as const;
  return reflect ? pad(all, [[0, 0], sides, sides, [0, 0]], { mode: 'reflect' }) : all;
}

// SSIM in every window, [B, P, Q, 1].
function similarity(x: Tensor, y: Tensor, window: Window, white: number): Tensor {
  const [c1, c2] = [(0.01 * white) ** 2, (0.03 * white) ** 2];
  const moments = [x, y, x.square(), y.square(), x.mul(y)];
  const [mx, my, xx, yy, xy] = filtered(concat(moments), window).chunk(5, 0);
  const [mxx, myy, mxy] = [mx.square(), my.square(), mx.mul(my)];
  const spread = (moment: Tensor, squaredMean: Tensor): Tensor => {
    const variance = moment.sub(squaredMean).mul(window.correction);
    return window.reflect ? clamp(variance, 0, Infinity) : variance;
  };
  const covariance = xy.sub(mxy).mul(window.correction);
  const variances = spread(xx, mxx).add(spread(yy, myy));
  const likeness = mxy.mul(2).add(c1).mul(covariance.mul(2).add(c2));
  return likeness.div(mxx.add(myy).add(c1).mul(variances.add(c2)));
}

// Weighted means: the window is separable, so rows and columns are filtered one after the other.
function filtered(x: Tensor, { taps }: Window): Tensor {
  const { dtype, device } = x;
  const along = (shape: number[]): Tensor => tensor(taps, { shape, dtype, device });
  const columns = conv2d(x, along([1, 1, taps.length, 1]));
  return conv2d(columns, along([1, taps.length, 1, 1]));
}

function normalized(weights: readonly number[]): number[] {
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / sum);
}
