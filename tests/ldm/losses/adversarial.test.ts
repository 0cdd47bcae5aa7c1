// Adversarial terms against their formulas, worked out in JavaScript's float64.
import { describe, expect, test } from 'vitest';
import {
  adaptiveWeight,
  adoptWeight,
  Generator,
  hingeDLoss,
  hingeDLossWithExemplarWeights,
  largestAdaptiveWeight,
  mean,
  mul,
  ShapeError,
  sum,
  tensor,
  vanillaDLoss,
  zeros,
} from '../../../lib/index.js';
import { immediateGradient } from '../../../lib/ldm/losses/immediate_gradient.js';
import { normals } from '../../support/random.js';

const average = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const logits = (seed: string, shape = [3, 2, 5, 1]) => {
  const count = shape.reduce((a, b) => a * b);
  const values = Array.from(normals(count, seed), (v) => 2 * v);
  return { values, x: tensor(values, { shape, dtype: 'float64' }) };
};
const real = logits('real');
const fake = logits('fake');

describe('losses of the discriminator', () => {
  test('hinge', () => {
    const expected =
      0.5 * average(real.values.map((r) => Math.max(0, 1 - r))) +
      0.5 * average(fake.values.map((f) => Math.max(0, 1 + f)));
    expect(hingeDLoss(real.x, fake.x).itemSync()).toBeCloseTo(expected, 12);
  });

  test('vanilla', () => {
    const expected =
      0.5 * average(real.values.map((r) => Math.log(1 + Math.exp(-r)))) +
      0.5 * average(fake.values.map((f) => Math.log(1 + Math.exp(f))));
    expect(vanillaDLoss(real.x, fake.x).itemSync()).toBeCloseTo(expected, 12);
  });

  test('vanilla stays finite where exp does not', () => {
    const far = tensor([1000, -1000]);
    expect(vanillaDLoss(far, far).itemSync()).toBe(500);
  });

  test('hinge with a weight per image', () => {
    const weights = [0.5, 0, 2];
    const term = (values: readonly number[], sign: number) => {
      const perImage = weights.map((_, n) =>
        average(values.slice(10 * n, 10 * n + 10).map((v) => Math.max(0, 1 + sign * v))),
      );
      return weights.reduce((total, w, n) => total + w * perImage[n], 0) / 2.5;
    };
    const expected = 0.5 * (term(real.values, -1) + term(fake.values, 1));
    const given = tensor(weights, { dtype: 'float64' });
    const loss = hingeDLossWithExemplarWeights(real.x, fake.x, given);
    expect(loss.itemSync()).toBeCloseTo(expected, 12);
    const wrong = () => hingeDLossWithExemplarWeights(real.x, fake.x, zeros([2]));
    expect(wrong).toThrow(ShapeError);
  });

  test('adoptWeight holds back until its step', () => {
    expect([9, 10, 11].map((step) => adoptWeight(0.7, step, 10))).toEqual([0, 0.7, 0.7]);
    expect(adoptWeight(0.7, 3, 10, 0.2)).toBe(0.2);
  });
});

describe('adaptiveWeight', () => {
  // L_rec = Σ a·w and L_G = Σ b·w have the gradients a and b.
  const weigh = (a: number[], b: number[]) => {
    const w = tensor([1, 2], { requiresGrad: true });
    const [first, second] = [sum(mul(w, tensor(a))), sum(mul(w, tensor(b)))];
    const weight = adaptiveWeight(first, second, w);
    return { weight, w, total: first.add(mul(second, weight)) };
  };

  test('is the ratio of the gradients’ norms', () => {
    const { weight } = weigh([3, 4], [0.6, 0.8]);
    expect(weight.itemSync()).toBeCloseTo(5 / (1 + 1e-4), 5);
    expect(weight.requiresGrad).toBe(false);
  });

  test('is limited', () => {
    expect(weigh([3, 4], [0, 0]).weight.itemSync()).toBe(largestAdaptiveWeight);
    expect(weigh([0, 0], [3, 4]).weight.itemSync()).toBe(0);
  });

  test('leaves both losses to be walked, and no gradient behind', () => {
    const { w, total } = weigh([3, 4], [0.6, 0.8]);
    expect(w.grad).toBeNull();
    total.backward();
    const lambda = 5 / (1 + 1e-4);
    const [first, second] = w.grad!.dataSync() as Float32Array;
    expect(first).toBeCloseTo(3 + lambda * 0.6, 4);
    expect(second).toBeCloseTo(4 + lambda * 0.8, 4);
  });
});

describe('immediateGradient', () => {
  const images = () => {
    const x = new Generator(4).normal([2, 3, 3, 1]);
    x.requiresGrad = true;
    return x;
  };
  const energy = (x: ReturnType<typeof images>) =>
    mean(x.square().mul(-1).exp(), [1, 2, 3], { keepDims: true });

  test('is the same gradient, whatever each image’s value is weighed with', () => {
    const weights = tensor([2, -3], { shape: [2, 1, 1, 1] });
    const [plain, immediate] = [images(), images()];
    sum(mul(energy(plain), weights)).backward();
    sum(mul(immediateGradient(immediate, energy), weights)).backward();
    const [a, b] = [plain, immediate].map((x) => x.grad!.dataSync() as Float32Array);
    a.forEach((value, i) => expect(b[i]).toBeCloseTo(value, 5));
  });

  test('can be walked again, at the price of one', () => {
    let calls = 0;
    const x = images();
    const values = immediateGradient(x, (leaf) => {
      ++calls;
      return energy(leaf);
    });
    const loss = sum(values);
    loss.backward(undefined, { retainGraph: true });
    const once = Array.from(x.grad!.dataSync() as Float32Array);
    loss.backward();
    const twice = Array.from(x.grad!.dataSync() as Float32Array);
    expect(twice).toEqual(once.map((value) => 2 * value));
    expect(calls).toBe(1);
  });
});
