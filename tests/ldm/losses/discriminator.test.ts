import { describe, expect, test } from 'vitest';
import type { BatchNorm2d } from '../../../lib/index.js';
import {
  ActNorm,
  Conv2d,
  Generator,
  NLayerDiscriminator,
  ones,
  ShapeError,
  tensor,
  zeros,
  type Tensor,
} from '../../../lib/index.js';
import { testModule } from '../../nn/module_contract.js';

testModule({
  name: 'NLayerDiscriminator',
  make: (generator) => new NLayerDiscriminator({ ndf: 4, nLayers: 2, generator }),
  inputs: (generator) => [generator.normal([2, 20, 16, 3])],
  output: [2, 3, 2, 1],
  keys: {
    'main.0.weight': [4, 3, 4, 4],
    'main.0.bias': [4],
    'main.2.weight': [8, 4, 4, 4],
    'main.3.weight': [8],
    'main.3.bias': [8],
    'main.3.running_mean': [8],
    'main.3.running_var': [8],
    'main.3.num_batches_tracked': [],
    'main.5.weight': [16, 8, 4, 4],
    'main.6.weight': [16],
    'main.6.bias': [16],
    'main.6.running_mean': [16],
    'main.6.running_var': [16],
    'main.6.num_batches_tracked': [],
    'main.8.weight': [1, 16, 4, 4],
    'main.8.bias': [1],
  },
  parameters: 3061,
});

testModule({
  name: 'ActNorm',
  make: () => new ActNorm(3),
  inputs: (generator) => [generator.normal([2, 4, 5, 3], { mean: 2, std: 3 })],
  output: [2, 4, 5, 3],
  keys: { loc: [1, 3, 1, 1], scale: [1, 3, 1, 1], initialized: [] },
  parameters: 6,
});

const numbers = (x: Tensor) => Array.from(x.dataSync(), Number);
const moments = (values: readonly number[]) => {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / (values.length - 1);
  return { mean, std: Math.sqrt(variance) };
};

describe('NLayerDiscriminator', () => {
  test('has the published sizes', () => {
    expect(new NLayerDiscriminator().parameterCount()).toBe(2_765_633);
    expect(new NLayerDiscriminator({ nLayers: 2 }).parameterCount()).toBe(663_361);
  });

  test('gives 30×30 patches of 256×256 with three layers, 62×62 with two', () => {
    const images = zeros([1, 256, 256, 3]);
    const shape = (nLayers: number) =>
      new NLayerDiscriminator({ ndf: 2, nLayers }).eval().forward(images).shape;
    expect(shape(3)).toEqual([1, 30, 30, 1]);
    expect(shape(2)).toEqual([1, 62, 62, 1]);
  });

  test('stops widening at eight times the first layer', () => {
    const layers = [...new NLayerDiscriminator({ ndf: 2, nLayers: 5 }).main];
    const widths = layers.filter((layer) => layer instanceof Conv2d).map((c) => c.outChannels);
    expect(widths).toEqual([2, 4, 8, 16, 16, 16, 1]);
  });

  test('starts with normal weights of deviation 0.02, around 1 in the norms', () => {
    const { main } = new NLayerDiscriminator({ generator: new Generator(7) });
    const conv = moments(numbers((main[8] as Conv2d).weight));
    expect(conv.mean).toBeCloseTo(0, 4);
    expect(conv.std).toBeCloseTo(0.02, 4);
    const norm = main[9] as BatchNorm2d;
    const weight = moments(numbers(norm.weight));
    expect(weight.mean).toBeCloseTo(1, 2);
    expect(weight.std).toBeCloseTo(0.02, 2);
    expect(new Set(numbers(norm.bias))).toEqual(new Set([0]));
  });

  test('has biases in front of ActNorm and none in front of batch norm', () => {
    const bias = (useActnorm: boolean) => {
      const { main } = new NLayerDiscriminator({ ndf: 2, useActnorm });
      return (main[2] as Conv2d).bias !== null;
    };
    expect([bias(true), bias(false)]).toEqual([true, false]);
  });

  test('says how large images must be', () => {
    const network = new NLayerDiscriminator({ ndf: 2 });
    expect(network.forward(zeros([2, 24, 24, 3])).shape).toEqual([2, 1, 1, 1]);
    const small = () => network.forward(zeros([1, 23, 64, 3]));
    expect(small).toThrow(ShapeError);
    for (const nLayers of [0, 1.5, 11])
      expect(() => new NLayerDiscriminator({ nLayers })).toThrow(/integer from 1 to 10/);
    expect(small).toThrow(/at least 24×24, got \[1, 23, 64, 3\].*discNumLayers/);
  });
});

describe('ActNorm', () => {
  const data = (seed: number) => new Generator(seed).normal([4, 6, 6, 3], { mean: 5, std: 4 });

  test('starts from the data: mean 0 and deviation 1 in every channel', () => {
    const norm = new ActNorm(3);
    const y = numbers(norm.forward(data(1)));
    for (let c = 0; c < 3; c++) {
      const { mean, std } = moments(y.filter((_, i) => i % 3 === c));
      expect(mean).toBeCloseTo(0, 5);
      expect(std).toBeCloseTo(1, 5);
    }
    expect(norm.initialized.itemSync()).toBe(1);
  });

  test('does so once, in training', () => {
    const norm = new ActNorm(3).eval();
    expect(numbers(norm.forward(data(1)))).toEqual(numbers(data(1)));
    norm.train().forward(data(1));
    const loc = numbers(norm.loc);
    norm.forward(data(2).mul(10));
    expect(numbers(norm.loc)).toEqual(loc);
  });

  test('keeps what a checkpoint brought', () => {
    const norm = new ActNorm(3);
    const initialized = tensor(1, { dtype: 'uint8' });
    norm.loadStateDict({ loc: ones([3]), scale: ones([3]).mul(2), initialized });
    norm.forward(data(1));
    expect(numbers(norm.scale)).toEqual([2, 2, 2]);
  });

  test('needs more than one value for a deviation', () => {
    expect(() => new ActNorm(3).forward(ones([1, 1, 1, 3]))).toThrow(/more than one value/);
  });
});
