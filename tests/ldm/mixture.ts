// Data whose every noisy density is known: a mixture of Gaussians in each element. Its score, the exact path
// of the probability-flow equation and its classes are closed forms, so that samplers can be measured.
import {
  stack,
  tensor,
  type Denoiser,
  type Parameterization,
  type Tensor,
} from '../../lib/index.js';

export interface Component {
  weight: number;
  mean: number;
  deviation: number;
}

export const components: readonly Component[] = [
  { weight: 0.3, mean: -1.1, deviation: 0.35 },
  { weight: 0.5, mean: 0.4, deviation: 0.25 },
  { weight: 0.2, mean: 1.6, deviation: 0.3 },
];

// of x_0 + ratio ε
const logDensity = ({ weight, mean, deviation }: Component, x: number, ratio: number): number => {
  const variance = deviation ** 2 + ratio ** 2;
  return Math.log(weight) - 0.5 * Math.log(variance) - (x - mean) ** 2 / (2 * variance);
};

/** E[ε | x_0 + ratio ε = x] */
function expectedNoise(x: number, ratio: number): number {
  const logs = components.map((component) => logDensity(component, x, ratio));
  const highest = Math.max(...logs);
  const shares = logs.map((log) => Math.exp(log - highest));
  const total = shares.reduce((a, b) => a + b);
  return components.reduce((sum, { mean, deviation }, k) => {
    const variance = deviation ** 2 + ratio ** 2;
    return sum + ((shares[k] / total) * (x - mean) * ratio) / variance;
  }, 0);
}

export const ratioOf = (alphaBar: number): number => Math.sqrt(1 / alphaBar - 1);

/** Follows the equation d(x/α)/d(ratio) = ε exactly (Runge-Kutta in ln ratio) from one ᾱ to another. */
export function exactPath(x: number, fromAlphaBar: number, toAlphaBar: number): number {
  const [start, end] = [ratioOf(fromAlphaBar), ratioOf(toAlphaBar)].map(Math.log);
  const steps = 400;
  const h = (end - start) / steps;
  const slope = (y: number, at: number) => Math.exp(at) * expectedNoise(y, Math.exp(at));
  let y = x / Math.sqrt(fromAlphaBar);
  for (let i = 0; i < steps; ++i) {
    const at = start + i * h;
    const k1 = slope(y, at);
    const k2 = slope(y + (h / 2) * k1, at + h / 2);
    const k3 = slope(y + (h / 2) * k2, at + h / 2);
    const k4 = slope(y + h * k3, at + h);
    y += (h / 6) * (k1 + 2 * k2 + 2 * k3 + k4);
  }
  return y * Math.sqrt(toAlphaBar);
}

/** The exact ε as a network, element by element. */
export function exactDenoiser(alphaBarAt: (t: number) => number): Denoiser {
  return (x, t) => {
    const alphaBar = alphaBarAt(Number(t.dataSync()[0]));
    const scale = Math.sqrt(alphaBar);
    const values = Float64Array.from(x.to('float64').dataSync() as Float64Array, (value) =>
      expectedNoise(value / scale, ratioOf(alphaBar)),
    );
    return tensor(values, { shape: x.shape, dtype: 'float64' }).to(x.dtype);
  };
}

/** The exact network with what it knows told in another way: x_0, or v = √ᾱ ε - √(1-ᾱ) x_0. */
export function predicting(kind: Parameterization, alphaBarAt: (t: number) => number): Denoiser {
  const denoise = exactDenoiser(alphaBarAt);
  return (x, t) => {
    const alphaBar = alphaBarAt(Number(t.dataSync()[0]));
    const [signal, level] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
    const eps = denoise(x, t);
    const x0 = x.sub(eps.mul(level)).div(signal);
    return { eps, x0, v: eps.mul(signal).sub(x0.mul(level)) }[kind];
  };
}

/** ln p(component) + ln p(x_t | component) of latents [N, 1, 1, 1]: the exact classifier's logits [N, K]. */
export function classLogits(x: Tensor, alphaBar: number): Tensor {
  const clean = x.reshape([-1]).div(Math.sqrt(alphaBar));
  const columns = components.map(({ weight, mean, deviation }) => {
    const variance = deviation ** 2 + 1 / alphaBar - 1;
    const constant = Math.log(weight) - 0.5 * Math.log(variance);
    return clean
      .sub(mean)
      .square()
      .div(-2 * variance)
      .add(constant);
  });
  return stack(columns, 1);
}

/** The exact ε of one component alone. */
export function componentNoise(
  { mean, deviation }: Component,
  x: Tensor,
  alphaBar: number,
): Tensor {
  const ratio = ratioOf(alphaBar);
  return x
    .div(Math.sqrt(alphaBar))
    .sub(mean)
    .mul(ratio / (deviation ** 2 + ratio ** 2));
}
