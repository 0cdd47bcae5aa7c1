// The Gaussian kernels of BSRGAN (Zhang et al., "Designing a Practical Degradation Model for Deep Blind Image
// Super-Resolution", 2021): isotropic ones as one axis, since they are products; others as squares.

/** A square of weights, row by row, that sum to 1. */
export interface Kernel {
  readonly size: number;
  readonly weights: Float64Array;
}

/** In pixels². Less counts as this: a kernel of no width would be 0 / 0. */
const leastVariance = 1e-3;

/**
 * One axis of the isotropic kernel exp(-(x² + y²) / 2σ²) on centred coordinates, which are halves where the size is
 * even; it sums to 1.
 */
export function gaussianAxis(size: number, sigma: number): Float64Array {
  const middle = (size - 1) / 2;
  const variance = Math.max(sigma ** 2, leastVariance);
  // Taken from the nearest pixel: a narrow kernel of even size would be zero everywhere.
  const nearest = size % 2 === 0 ? 0.25 : 0;
  return normalized(
    Float64Array.from({ length: size }, (_, i) =>
      Math.exp((nearest - (i - middle) ** 2) / (2 * variance)),
    ),
  );
}

/**
 * The kernel exp(-½ pᵀ Σ⁻¹ p) with Σ = l1 v vᵀ + l2 u uᵀ, v = (cos θ, sin θ), u = (sin θ, -cos θ), normalised.
 * @param l1 variance along v, in pixels²
 * @param l2 variance along u
 */
export function anisotropicKernel(size: number, theta: number, l1: number, l2: number): Kernel {
  const [cos, sin] = [Math.cos(theta), Math.sin(theta)];
  const [along, across] = [l1, l2].map((variance) => 1 / Math.max(variance, leastVariance));
  const middle = (size - 1) / 2;
  const exponents = new Float64Array(size * size);
  for (let y = 0, i = 0; y < size; ++y)
    for (let x = 0; x < size; ++x) {
      const [dx, dy] = [x - middle, y - middle];
      const v = cos * dx + sin * dy;
      const u = sin * dx - cos * dy;
      exponents[i++] = -0.5 * (v * v * along + u * u * across);
    }
  const largest = exponents.reduce((a, b) => Math.max(a, b));
  return { size, weights: normalized(exponents.map((each) => Math.exp(each - largest))) };
}

/**
 * The axis moved by (factor - 1) / 2 pixels towards its beginning, between pixels by linear interpolation, and
 * normalised: a picture of which every factor-th pixel is then kept stays in its place.
 */
export function shiftedAxis(axis: Float64Array, factor: number): Float64Array {
  const last = axis.length - 1;
  const shifted = axis.map((_, i) => {
    const at = Math.min(i + (factor - 1) / 2, last);
    const below = Math.floor(at);
    const above = Math.min(below + 1, last);
    return axis[below] + (at - below) * (axis[above] - axis[below]);
  });
  return normalized(shifted);
}

function normalized(weights: Float64Array): Float64Array {
  const sum = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / sum);
}
