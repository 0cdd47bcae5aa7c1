import { resize, tensor, upsampleNearest2x, zeros, type ResizeOptions } from '../../lib/index.js';
import type { InputArrays, OpCase, OpCases } from './cases.js';
import { at, generate, total } from '../support/oracle.js';

/** Every output pixel as a weighted mean of the source pixels that weights(out position) names. */
function separable(
  { x }: InputArrays,
  [height, width]: readonly [number, number],
  weights: (i: number, from: number, to: number) => [source: number, weight: number][],
) {
  const [N, H, W, C] = x.shape;
  return generate([N, height, width, C], (n, i, j, c) =>
    total(
      weights(i, H, height).flatMap(([h, a]) =>
        weights(j, W, width).map(([w, b]) => a * b * at(x, n, h, w, c)),
      ),
    ),
  );
}

const clamp = (i: number, size: number) => Math.min(Math.max(i, 0), size - 1);

function linear(i: number, from: number, to: number): [number, number][] {
  const centre = Math.max(((i + 0.5) * from) / to - 0.5, 0);
  const left = Math.floor(centre);
  return [
    [left, 1 - (centre - left)],
    [clamp(left + 1, from), centre - left],
  ];
}

// Keys' kernel with a = -0.75.
function cubic(i: number, from: number, to: number): [number, number][] {
  const centre = ((i + 0.5) * from) / to - 0.5;
  const left = Math.floor(centre);
  const kernel = (x: number) =>
    x < 1 ? 1.25 * x ** 3 - 2.25 * x ** 2 + 1 : -0.75 * x ** 3 + 3.75 * x ** 2 - 6 * x + 3;
  return [-1, 0, 1, 2].map((t) => [clamp(left + t, from), kernel(Math.abs(centre - left - t))]);
}

function covered(i: number, from: number, to: number): [number, number][] {
  const begin = Math.floor((i * from) / to);
  const count = Math.ceil(((i + 1) * from) / to) - begin;
  return Array.from({ length: count }, (_, t) => [begin + t, 1 / count]);
}

const nearest = (i: number, from: number, to: number): [number, number][] => [
  [Math.floor((i * from) / to), 1],
];

const engineCase = (name: string, shape: number[], options: ResizeOptions): OpCase => ({
  name,
  inputs: { x: shape },
  run: ({ x }) => resize(x, options),
  reduction: 40,
});

export default [
  {
    op: 'resize',
    cases: [
      {
        name: 'bilinear, taller and narrower',
        inputs: { x: [2, 5, 9, 3] },
        run: ({ x }) => resize(x, { size: [8, 4], mode: 'bilinear' }),
        reference: (inputs) => separable(inputs, [8, 4], linear),
        reduction: 4,
      },
      {
        name: 'bicubic, 17 channels',
        inputs: { x: [1, 6, 5, 17] },
        run: ({ x }) => resize(x, { size: [4, 11], mode: 'bicubic' }),
        reference: (inputs) => separable(inputs, [4, 11], cubic),
        reduction: 64,
      },
      {
        name: 'area',
        inputs: { x: [1, 7, 10, 2] },
        run: ({ x }) => resize(x, { size: [3, 5], mode: 'area' }),
        reference: (inputs) => separable(inputs, [3, 5], covered),
        reduction: 9,
      },
      {
        name: 'nearest, shorter and wider',
        inputs: { x: [2, 7, 3, 5] },
        run: ({ x }) => resize(x, { size: [4, 8], mode: 'nearest' }),
        reference: (inputs) => separable(inputs, [4, 8], nearest),
        reduction: 4, // of the gradient; values are copied
      },
      {
        name: 'bilinear, channels of whole packs',
        inputs: { x: [2, 4, 3, 16] },
        run: ({ x }) => resize(x, { size: [7, 6], mode: 'bilinear' }),
        reference: (inputs) => separable(inputs, [7, 6], linear),
        reduction: 9,
      },
      {
        name: 'bicubic, channels of whole packs',
        inputs: { x: [1, 5, 4, 8] },
        run: ({ x }) => resize(x, { size: [8, 3], mode: 'bicubic' }),
        reference: (inputs) => separable(inputs, [8, 3], cubic),
        reduction: 64,
      },
      {
        name: 'area, wider, channels of whole packs',
        inputs: { x: [1, 9, 4, 8] },
        run: ({ x }) => resize(x, { size: [2, 6], mode: 'area' }),
        reference: (inputs) => separable(inputs, [2, 6], covered),
        reduction: 9,
      },
      {
        name: 'nearest, half as tall, channels of whole packs',
        inputs: { x: [2, 6, 5, 8] },
        run: ({ x }) => resize(x, { size: [3, 7], mode: 'nearest' }),
        reference: (inputs) => separable(inputs, [3, 7], nearest),
        reduction: 4,
      },
      {
        name: 'nearest, four times as tall',
        inputs: { x: [2, 3, 5, 8] },
        run: ({ x }) => resize(x, { scaleFactor: [4, 1], mode: 'nearest' }),
        reference: (inputs) => separable(inputs, [12, 5], nearest),
        reduction: 4,
      },
      {
        name: 'nearest on labels',
        inputs: { x: { shape: [1, 3, 3, 1], dtype: 'uint8' } },
        run: ({ x }) => resize(x, { scaleFactor: [2, 1], mode: 'nearest' }),
        reference: (inputs) => separable(inputs, [6, 3], nearest),
        tolerance: 'exact',
      },
      {
        name: 'one pixel to many',
        inputs: { x: [1, 1, 1, 2] },
        run: ({ x }) => resize(x, { size: [3, 2], mode: 'bicubic' }),
        reference: ({ x }) => generate([1, 3, 2, 2], (_n, _i, _j, c) => at(x, 0, 0, 0, c)),
        reduction: 16,
      },
      {
        name: 'no batch',
        inputs: { x: [0, 4, 4, 3] },
        run: ({ x }) => resize(x, { scaleFactor: 0.5, mode: 'area' }),
        reference: () => [],
      },
      engineCase('antialiased bilinear', [1, 13, 9, 3], {
        size: [5, 12],
        mode: 'bilinear',
        antialias: true,
      }),
      engineCase('antialiased bicubic', [1, 13, 9, 3], {
        scaleFactor: [0.4, 1.3],
        mode: 'bicubic',
        antialias: true,
      }),
      engineCase('antialiased, far smaller', [2, 40, 33, 4], {
        size: [3, 2],
        mode: 'bilinear',
        antialias: true,
      }),
      engineCase('antialiased, to a pixel', [1, 17, 5, 1], {
        size: [1, 1],
        mode: 'bicubic',
        antialias: true,
      }),
      engineCase('a factor that does not divide', [1, 7, 6, 4], {
        scaleFactor: [1.7, 0.6],
        mode: 'bilinear',
      }),
      engineCase('aligned corners, bicubic', [1, 5, 6, 4], {
        size: [3, 11],
        mode: 'bicubic',
        alignCorners: true,
      }),
      engineCase('aligned corners', [1, 5, 6, 4], {
        size: [9, 1],
        mode: 'bilinear',
        alignCorners: true,
      }),
      {
        name: 'bicubic by 1/4, antialiased, 256 x 256',
        inputs: { x: [4, 256, 256, 3] },
        run: ({ x }) => resize(x, { scaleFactor: 0.25, mode: 'bicubic', antialias: true }),
        bytes: 4 * 256 * 256 * 3 * 4,
        bench: 'only',
      },
    ],
    errors: [
      {
        name: 'size and factor together',
        run: () => resize(zeros([1, 4, 4, 1]), { size: [2, 2], scaleFactor: 2, mode: 'nearest' }),
        message: /resize: give either size or scaleFactor/,
      },
      {
        name: 'a factor that leaves no pixels',
        run: () => resize(zeros([1, 4, 4, 1]), { scaleFactor: 0.2, mode: 'nearest' }),
        message: /resize: cannot resize .*\[1, 4, 4, 1\].* to 0 x 0 pixels/,
      },
      {
        name: 'an unknown mode',
        run: () => resize(zeros([1, 4, 4, 1]), { size: [2, 2], mode: 'lanczos' as 'area' }),
        message: /mode must be one of nearest, bilinear, bicubic, area, got lanczos/,
      },
      {
        name: 'antialias for nearest',
        run: () => resize(zeros([1, 4, 4, 1]), { size: [2, 2], mode: 'nearest', antialias: true }),
        message: /antialias are for bilinear and bicubic, not nearest/,
      },
      {
        name: 'interpolated labels',
        run: () =>
          resize(tensor([1, 2], { shape: [1, 1, 2, 1], dtype: 'int32' }), {
            size: [2, 2],
            mode: 'bilinear',
          }),
        message: /x must have a floating dtype/,
      },
    ],
  },
  {
    op: 'upsampleNearest2x',
    cases: [
      {
        name: 'odd extents and channels',
        inputs: { x: [2, 3, 5, 7] },
        run: ({ x }) => upsampleNearest2x(x),
        reference: (inputs) => separable(inputs, [6, 10], nearest),
        reduction: 4,
      },
      {
        name: '64 x 64, 256 channels',
        inputs: { x: [1, 64, 64, 256] },
        run: ({ x }) => upsampleNearest2x(x),
        bytes: 64 * 64 * 256 * 4 * 5,
        bench: 'only',
      },
    ],
  },
] satisfies OpCases[];
