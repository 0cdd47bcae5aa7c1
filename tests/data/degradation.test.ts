// Every step of a degradation against numbers that OpenCV, SciPy and Pillow gave; the file says which of them.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { blur, blurSeparable } from '../../lib/data/degradation/blur.js';
import { downscale, downscalings, type Downscaling } from '../../lib/data/degradation/downscale.js';
import { toBytes, toFloats, type FloatImage } from '../../lib/data/degradation/floats.js';
import { throughJpeg } from '../../lib/data/degradation/jpeg.js';
import {
  anisotropicKernel,
  gaussianAxis,
  shiftedAxis,
} from '../../lib/data/degradation/kernels.js';
import { addNoise, channelCovariance, type Noise } from '../../lib/data/degradation/noise.js';
import { halve, resample, type ResampleFilter } from '../../lib/data/degradation/resample.js';
import type { Pixels } from '../../lib/data/pixels.js';
import { expectClose } from '../support/expect_close.js';

interface Case {
  height: number;
  width: number;
  size: number;
  sigma: number;
  theta: number;
  l1: number;
  l2: number;
  factor: number;
  quality: number;
  expected: number[];
}

const reference = JSON.parse(
  readFileSync(new URL('../golden/degradation/reference.json', import.meta.url), 'utf8'),
) as {
  anisotropic: Case[];
  isotropic: Case[];
  decimated: Case[];
  halved: Case[];
  jpeg: Case[];
  resampled_from_7x6: (Case & { filter: ResampleFilter })[];
  downscaled_from_12x24: (Case & { name: Downscaling })[];
  covariance: { level: number; variances: number[]; basis: number[]; expected: number[] }[];
};

/** The reference's picture. */
function picture(height: number, width: number): Pixels {
  const data = Uint8Array.from({ length: height * width * 3 }, (_, i) => {
    const [y, x, c] = [Math.floor(i / 3 / width), Math.floor(i / 3) % width, i % 3];
    return 67 * x + 151 * y + 29 * x * y + 83 * c;
  });
  return { data, width, height, channels: 3 };
}

const floats = (height: number, width: number): FloatImage => toFloats(picture(height, width));

const expectNumbers = (actual: FloatImage, expected: number[], reduction: number) =>
  expectClose(actual.data, Float32Array.from(expected), {
    dtype: 'float32',
    tolerance: 'norm',
    reduction,
  });

test.each(reference.anisotropic)(
  'an anisotropic kernel of $size on $height x $width',
  ({ height, width, size, theta, l1, l2, expected }) => {
    const kernel = anisotropicKernel(size, theta, l1, l2);
    expectNumbers(blur(floats(height, width), kernel), expected, size * size);
  },
);

test.each(reference.isotropic)(
  'an isotropic kernel of $size on $height x $width',
  ({ height, width, size, sigma, expected }) => {
    const axis = gaussianAxis(size, sigma);
    expectNumbers(blurSeparable(floats(height, width), axis), expected, size);
  },
);

test.each(reference.decimated)(
  'a shifted kernel, of $height x $width every $factor. pixel',
  ({ height, width, size, sigma, factor, expected }) => {
    const axis = shiftedAxis(gaussianAxis(size, sigma), factor);
    expectNumbers(blurSeparable(floats(height, width), axis, factor), expected, size);
  },
);

test.each(reference.halved)('half of $height x $width', ({ height, width, expected }) => {
  expectNumbers(halve(floats(height, width)), expected, 8);
});

test.each(reference.resampled_from_7x6)(
  '$filter, 7 x 6 to $height x $width',
  ({ height, width, filter, expected }) => {
    expectNumbers(resample(floats(7, 6), height, width, filter), expected, 16);
  },
);

test.each(reference.jpeg)(
  'JPEG of quality $quality, $height x $width',
  async ({ height, width, quality, expected }) => {
    const { data } = await throughJpeg(picture(height, width), quality);
    expect([...data]).toEqual(expected);
  },
);

test.each(reference.downscaled_from_12x24)(
  '$name by $factor, to the bit',
  ({ name, factor, expected }) => {
    const { data } = downscale(picture(12, 24), 12 / factor, 24 / factor, name);
    expect([...data]).toEqual(expected);
  },
);

test('all downscalings of the original have numbers', () => {
  const named = new Set(reference.downscaled_from_12x24.map(({ name }) => name));
  expect([...named].sort()).toEqual([...downscalings].sort());
  expect(named.size).toBe(11);
});

test.each(reference.covariance)(
  'the covariance of noise on $variances',
  ({ level, variances, basis, expected }) => {
    expectClose(channelCovariance(level, variances, basis), expected, { dtype: 'float32' });
  },
);

test('the kernel of the specification', () => {
  const { weights } = anisotropicKernel(7, Math.PI / 6, 3, 1);
  const rounded = [...weights].map((weight) => Number(weight.toFixed(6)));
  expect(rounded.slice(21, 25)).toEqual([0.009954, 0.034742, 0.07355, 0.094439]);
  expect([0, 1, 2, 3].map((row) => rounded[row * 7 + 3])).toEqual([
    0.002221, 0.017837, 0.062258, 0.094439,
  ]);
});

test('kernels sum to 1 however narrow', () => {
  const sums = [
    gaussianAxis(7, 0),
    gaussianAxis(6, 0),
    gaussianAxis(6, 1e-300),
    anisotropicKernel(6, 1, 0, 0).weights,
    anisotropicKernel(25, 2, 0, 8).weights,
    shiftedAxis(gaussianAxis(25, 0.1), 4),
  ].map((weights) => weights.reduce((a, b) => a + b));
  for (const sum of sums) expect(sum).toBeCloseTo(1, 12);
  expect([...Float32Array.from(gaussianAxis(5, 0))]).toEqual([0, 0, 1, 0, 0]);
});

test('bytes come back from numbers, halves go to the even neighbour', () => {
  const every = { data: Uint8Array.from({ length: 256 }, (_, i) => i), width: 256, height: 1 };
  expect(toBytes(toFloats({ ...every, channels: 1 })).data).toEqual(every.data);
  const halves = Float32Array.of(0.5 / 255, 1.5 / 255, 2.5 / 255, -3, 7, NaN);
  const { data } = toBytes({ data: halves, width: 6, height: 1, channels: 1 });
  expect([...data]).toEqual([0, 2, 2, 0, 255, 0]);
});

// Noise on grey, measured.

const pixels = 128 * 128;
const grey: FloatImage = {
  data: new Float32Array(pixels * 3).fill(0.5),
  width: 128,
  height: 128,
  channels: 3,
};

function measured(noise: Noise): { mean: number[]; covariance: number[] } {
  const { data } = addNoise(grey, noise);
  const channel = [0, 1, 2].map((c) => {
    return Float64Array.from({ length: pixels }, (_, i) => data[3 * i + c] - 0.5);
  });
  const product = (a: Float64Array, b: Float64Array) =>
    a.reduce((sum, value, i) => sum + value * b[i], 0) / pixels;
  return {
    mean: channel.map((values) => values.reduce((a, b) => a + b) / pixels),
    covariance: channel.flatMap((a) => channel.map((b) => product(a, b))),
  };
}

// 5 standard errors of a product of two normal numbers
const near = (expected: number, variance: number, actual: number) =>
  expect(Math.abs(actual - expected)).toBeLessThan(5 * variance * Math.sqrt(2 / pixels));

test.each<[string, Noise, number[]]>([
  ['colour', { form: 'colour', deviation: 0.1, seed: 1 }, [1, 0, 0, 0, 1, 0, 0, 0, 1]],
  ['grey', { form: 'grey', deviation: 0.1, seed: 2 }, [1, 1, 1, 1, 1, 1, 1, 1, 1]],
  [
    'correlated',
    {
      form: 'correlated',
      covariance: [4, 1, 0.5, 1, 2, 1.2, 0.5, 1.2, 1].map((each) => each / 100),
      seed: 3,
    },
    [4, 1, 0.5, 1, 2, 1.2, 0.5, 1.2, 1],
  ],
])('%s noise has the covariance it was given', (_form, noise, expected) => {
  const { mean, covariance } = measured(noise);
  const variances = [0, 4, 8].map((i) => expected[i] / 100);
  mean.forEach((each, c) =>
    expect(Math.abs(each)).toBeLessThan(5 * Math.sqrt(variances[c] / pixels)),
  );
  covariance.forEach((each, i) => {
    const scale = Math.sqrt(variances[Math.floor(i / 3)] * variances[i % 3]);
    near(expected[i] / 100, scale, each);
  });
});

test('noise is a function of its seed, and normal', () => {
  const noise = (seed: number) => addNoise(grey, { form: 'colour', deviation: 0.1, seed }).data;
  expect(noise(7)).toEqual(noise(7));
  expect(noise(7)).not.toEqual(noise(8));
  const beyond = noise(7).filter((value) => Math.abs(value - 0.5) > 0.2).length / (3 * pixels);
  expect(beyond).toBeGreaterThan(0.042);
  expect(beyond).toBeLessThan(0.049);
});

test('one channel takes every form of noise', () => {
  const image: FloatImage = { data: new Float32Array(5), width: 5, height: 1, channels: 1 };
  const forms: Noise[] = [
    { form: 'colour', deviation: 0.1, seed: 1 },
    { form: 'grey', deviation: 0.1, seed: 1 },
    { form: 'correlated', covariance: [0.01, 0, 0, 0, 0, 0, 0, 0, 0], seed: 1 },
  ];
  for (const noise of forms) {
    const { data } = addNoise(image, noise);
    expect(data.length).toBe(5);
    expect(data.every((value) => Number.isFinite(value) && value !== 0)).toBe(true);
  }
});
