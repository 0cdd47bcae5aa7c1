// Long because each kernel of each engine chooses by shape, and wants cases at the edges of its own.
import { conv2d, ones, setFloat32MatmulPrecision, type Conv2dOptions } from '../../lib/index.js';
import { viewOf } from '../../lib/tensor.js';
import { generate, type NdArray } from '../support/oracle.js';
import type { InputArrays, OpCase, OpCases } from './cases.js';

interface Geometry {
  stride?: [number, number];
  padding?: { top?: number; bottom?: number; left?: number; right?: number };
  dilation?: [number, number];
  groups?: number;
}

function sizes(x: readonly number[], weight: readonly number[], geometry: Geometry): number[] {
  const { stride = [1, 1], padding = {}, dilation = [1, 1] } = geometry;
  const { top = 0, bottom = 0, left = 0, right = 0 } = padding;
  const free = [
    x[1] + top + bottom - dilation[0] * (weight[1] - 1) - 1,
    x[2] + left + right - dilation[1] * (weight[2] - 1) - 1,
  ];
  return [x[0], ...free.map((size, axis) => Math.floor(size / stride[axis]) + 1), weight[0]];
}

// The definition, tap by tap.
function reference(inputs: InputArrays, geometry: Geometry, silu = false): NdArray {
  const { x, weight, bias, channelAdd, residual } = inputs;
  const { stride = [1, 1], padding = {}, dilation = [1, 1], groups = 1 } = geometry;
  const [, H, W, C] = x.shape;
  const [K, R, S, groupC] = weight.shape;
  const [pixels, filters] = [x.data, weight.data];
  let flat = 0;
  return generate(sizes(x.shape, weight.shape, geometry), (n, p, q, k) => {
    let sum = (bias?.data[k] ?? 0) + (channelAdd?.data[n * K + k] ?? 0);
    const first = Math.floor(k / (K / groups)) * groupC;
    for (let r = 0; r < R; r++)
      for (let s = 0; s < S; s++) {
        const h = p * stride[0] - (padding.top ?? 0) + r * dilation[0];
        const w = q * stride[1] - (padding.left ?? 0) + s * dilation[1];
        if (h < 0 || h >= H || w < 0 || w >= W) continue;
        for (let c = 0; c < groupC; c++)
          sum +=
            pixels[((n * H + h) * W + w) * C + first + c] *
            filters[((k * R + r) * S + s) * groupC + c];
      }
    const value = silu ? sum / (1 + Math.exp(-sum)) : sum;
    return value + (residual ? residual.data[flat++] : 0);
  });
}

const spread = (
  weight: number[],
): { shape: number[]; values: 'uniform'; low: number; high: number } => {
  const bound = 1 / Math.sqrt(weight[1] * weight[2] * weight[3]);
  return { shape: weight, values: 'uniform', low: -bound, high: bound };
};

function plain(name: string, x: number[], weight: number[], geometry: Geometry = {}): OpCase {
  const [N, P, Q] = sizes(x, weight, geometry);
  return {
    name,
    inputs: { x, weight: spread(weight), bias: [weight[0]] },
    run: ({ x, weight, bias }) => conv2d(x, weight, bias, geometry),
    reference: (inputs) => reference(inputs, geometry),
    tolerance: 'matmul',
    reduction: Math.max(weight[1] * weight[2] * weight[3], N * P * Q),
  };
}

const same = { top: 1, bottom: 1, left: 1, right: 1 };

function fused(name: string, x: number[], K: number): OpCase {
  return {
    name,
    inputs: {
      x,
      weight: spread([K, 3, 3, x[3]]),
      bias: [K],
      channelAdd: [x[0], K],
      residual: [...x.slice(0, 3), K],
    },
    run: ({ x, weight, bias, channelAdd, residual }) =>
      conv2d(x, weight, bias, { padding: 1, channelAdd, residual, activation: 'silu' }),
    reference: (inputs) => reference(inputs, { padding: same }, true),
    tolerance: 'matmul',
    reduction: Math.max(9 * x[3], x[0] * x[1] * x[2]),
  };
}

function rounded(name: string, x: number[], weight: number[], geometry: Geometry): OpCase {
  return {
    name: `TF32 allowed: ${name}`,
    inputs: { x, weight: spread(weight) },
    run({ x, weight }) {
      setFloat32MatmulPrecision('high');
      try {
        return conv2d(x, weight, null, geometry);
      } finally {
        setFloat32MatmulPrecision('highest');
      }
    },
    verify([{ data }], inputs) {
      const exact = reference(inputs, geometry).data;
      let error = 0;
      let size = 0;
      for (let i = 0; i < exact.length; i++) {
        error += (data[i] - exact[i]) ** 2;
        size += exact[i] ** 2;
      }
      const relative = Math.sqrt(error / size);
      if (!(relative < 1e-3)) throw new Error(`relative error ${relative}`);
    },
    grad: false,
    dtypes: ['float32'],
  };
}

function timed(
  N: number,
  size: number,
  C: number,
  K: number,
  kernel = 3,
  options: Conv2dOptions = {},
): OpCase {
  const padding = Math.floor(kernel / 2);
  const out = typeof options.stride === 'number' ? size / options.stride : size;
  return {
    name: `${N} x ${size}x${size}, ${C} to ${K}, ${kernel}x${kernel}${out < size ? ', stride 2' : ''}`,
    inputs: { x: [N, size, size, C], weight: [K, kernel, kernel, C], bias: [K] },
    run: ({ x, weight, bias }) => conv2d(x, weight, bias, { padding, ...options }),
    tolerance: 'matmul',
    reduction: C * kernel * kernel,
    bench: 'only',
    flops: 2 * N * out * out * C * K * kernel * kernel,
  };
}

export default {
  op: 'conv2d',
  cases: [
    plain('3x3 over an odd image', [2, 5, 7, 6], [9, 3, 3, 6], { padding: same }),
    plain('three channels in', [1, 6, 5, 3], [20, 3, 3, 3], { padding: same }),
    plain('three channels in, many out, more pixels than a split', [1, 26, 25, 3], [64, 3, 3, 3], {
      padding: same,
    }),
    plain('two channels out, as many pixels as all splits', [1, 108, 110, 16], [2, 3, 3, 16], {
      padding: same,
    }),
    plain('three channels out', [2, 4, 4, 33], [3, 3, 3, 33], { padding: same }),
    plain('one channel out, more pixels than a stretch', [2, 9, 11, 40], [1, 3, 3, 40], {
      padding: same,
    }),
    plain('four channels out, stride 2', [1, 7, 9, 24], [4, 3, 3, 24], {
      stride: [2, 2],
      padding: { top: 0, bottom: 1, left: 0, right: 1 },
    }),
    plain('two channels out, dilated, 1x2', [1, 6, 7, 9], [2, 1, 2, 9], { dilation: [1, 3] }),
    plain('four channels in, stride 2, 5x3', [2, 9, 8, 4], [33, 5, 3, 4], {
      stride: [2, 2],
      padding: { top: 2, bottom: 1, left: 0, right: 2 },
    }),
    plain('two channels in, rows dilated', [1, 8, 5, 2], [18, 3, 2, 2], {
      dilation: [2, 1],
      padding: { top: 1, right: 3 },
    }),
    plain('three channels out, rows dilated, uneven padding', [2, 9, 11, 9], [3, 3, 2, 9], {
      dilation: [2, 1],
      padding: { top: 3, bottom: 1, right: 1 },
    }),
    plain('three channels out, more padding than filter', [1, 5, 6, 8], [3, 2, 3, 8], {
      padding: { top: 2, bottom: 1, left: 3 },
    }),
    plain('few pixels, many filters', [1, 4, 5, 21], [150, 3, 3, 21], { padding: same }),
    plain('few pixels, stride 2, two pictures', [2, 5, 5, 19], [67, 3, 3, 19], {
      stride: [2, 2],
      padding: same,
    }),
    plain('few pixels, 1x1, many channels both ways', [1, 3, 3, 530], [70, 1, 1, 530]),
    plain('few pixels to read, many channels in', [1, 3, 4, 90], [33, 3, 3, 90], { padding: same }),
    plain('1x1', [2, 3, 4, 18], [17, 1, 1, 18]),
    plain('downsampling pads bottom and right', [1, 8, 6, 4], [5, 3, 3, 4], {
      stride: [2, 2],
      padding: { bottom: 1, right: 1 },
    }),
    plain('4x4 with stride 2', [1, 8, 10, 7], [8, 4, 4, 7], { stride: [2, 2], padding: same }),
    plain('stride larger than the kernel', [1, 7, 8, 5], [4, 1, 2, 5], { stride: [2, 3] }),
    plain('dilation', [1, 9, 8, 3], [4, 3, 2, 3], {
      dilation: [2, 3],
      padding: { top: 2, left: 1, right: 3 },
    }),
    plain('three groups', [2, 5, 4, 9], [6, 3, 3, 3], { groups: 3, padding: same }),
    plain('depthwise with stride', [1, 6, 6, 5], [10, 3, 3, 1], {
      groups: 5,
      stride: [2, 1],
      padding: same,
    }),
    plain('7x7 on a small image', [1, 4, 4, 2], [3, 7, 7, 2], {
      padding: { top: 3, bottom: 3, left: 3, right: 3 },
    }),
    plain('one pixel, one channel', [1, 1, 1, 1], [1, 1, 1, 1]),
    // Whole vectors of channels, which the gradient of the weights reads in place.
    plain('16 channels: more pixels than a block holds', [3, 7, 8, 16], [5, 3, 3, 16], {
      padding: same,
    }),
    plain('32 channels: downsampling', [2, 9, 10, 32], [3, 3, 3, 32], {
      stride: [2, 2],
      padding: { bottom: 1, right: 1 },
    }),
    plain('48 channels: dilation', [1, 6, 5, 48], [4, 3, 3, 48], {
      dilation: [2, 3],
      padding: { top: 2, bottom: 3, left: 4, right: 3 },
    }),
    plain('16 channels in each of two groups', [1, 5, 6, 32], [4, 3, 3, 16], {
      groups: 2,
      stride: [1, 3],
      padding: same,
    }),
    plain('16 channels: 1x1 over neighbouring rows', [2, 9, 9, 16], [3, 1, 1, 16]),
    plain('16 channels: 7x7 with taps that never meet the image', [1, 2, 3, 16], [2, 7, 7, 16], {
      padding: { top: 6, bottom: 3, left: 3, right: 7 },
    }),
    plain('a reduction of several blocks', [1, 3, 4, 420], [18, 3, 3, 420], { padding: same }),
    // From 64 tiles of 2x2 outputs and 16 channels on, 3x3 filters of stride 1 go by Winograd's.
    plain('many pixels, whole vectors', [2, 16, 16, 32], [48, 3, 3, 32], { padding: same }),
    plain('many pixels, odd in everything', [3, 13, 11, 19], [37, 3, 3, 19], { padding: same }),
    plain('many pixels without padding', [1, 19, 18, 17], [33, 3, 3, 17]),
    plain('many pixels, more padding than the filter reads', [1, 14, 15, 16], [18, 3, 3, 16], {
      padding: { top: 3, bottom: 0, left: 0, right: 4 },
    }),
    plain('many pixels in two groups', [2, 12, 12, 42], [40, 3, 3, 21], {
      groups: 2,
      padding: same,
    }),
    // From 32 channels on by tiles of 2x4 outputs, from 128 on 4x4, if there are 16 of them.
    plain('wide tiles, odd in everything', [3, 13, 11, 53], [51, 3, 3, 53], { padding: same }),
    plain('wide tiles without padding', [1, 19, 21, 64], [48, 3, 3, 64]),
    plain('wide tiles, more padding than the filter reads', [1, 14, 15, 50], [49, 3, 3, 50], {
      padding: { top: 3, bottom: 0, left: 0, right: 4 },
    }),
    plain('large tiles, whole vectors', [1, 16, 16, 160], [128, 3, 3, 160], { padding: same }),
    plain('large tiles, odd in everything', [2, 15, 18, 131], [141, 3, 3, 131], {
      padding: same,
    }),
    plain('large tiles without padding', [2, 21, 13, 128], [37, 3, 3, 128]),
    plain('large tiles, more padding than the filter reads', [1, 17, 20, 130], [18, 3, 3, 130], {
      padding: { top: 3, bottom: 0, left: 0, right: 4 },
    }),
    plain(
      'large tiles of one channel group, wide of the other way',
      [1, 20, 20, 280],
      [96, 3, 3, 140],
      {
        groups: 2,
        padding: same,
      },
    ),
    fused('large tiles: bias, channelAdd, SiLU and residual', [2, 15, 14, 129], 33),
    // Filters' gradients of 32768 and 65536 pixels and more.
    ...[
      plain('wide tiles of many pixels', [2, 129, 131, 18], [17, 3, 3, 18], { padding: same }),
      plain('large tiles of many pixels', [1, 262, 259, 17], [18, 3, 3, 17], {
        padding: { top: 2, bottom: 0, left: 0, right: 3 },
      }),
    ].map((many) => ({ ...many, dtypes: ['float32'] as const, large: true })),
    // The gradient of filters to few channels meets windows of the outputs' gradients.
    plain('to a picture, more than 128 columns', [1, 7, 131, 48], [3, 3, 3, 48], { padding: same }),
    plain('to a picture, padding on two sides', [2, 5, 50, 32], [2, 3, 4, 32], {
      padding: { top: 0, bottom: 2, left: 3, right: 0 },
    }),
    plain('to four channels each of two groups, without padding', [2, 6, 49, 32], [8, 3, 2, 16], {
      groups: 2,
    }),
    // From 256 tiles on the gradient of small filters is summed in splits.
    plain('several splits of tiles, odd in everything', [2, 25, 27, 21], [19, 3, 3, 21], {
      padding: same,
    }),
    plain('splits of uneven blocks in two groups', [4, 34, 33, 34], [100, 3, 3, 17], {
      groups: 2,
      padding: same,
    }),
    // Of few tiles two threads share the larger of channels and filters, in float32.
    ...[
      plain('shared channels of small images', [31, 4, 5, 137], [43, 3, 3, 137], { padding: same }),
      plain('shared filters of small images', [33, 5, 4, 45], [131, 3, 3, 45], { padding: same }),
    ].map((shared) => ({ ...shared, dtypes: ['float32'] as const })),
    // Where filters outweigh the image, each is transformed where it is used, from 16 tiles of 2x2
    // on, in chunks of 256 tiles.
    ...[
      plain('heavy filters, whole vectors', [1, 8, 8, 272], [256, 3, 3, 272], { padding: same }),
      plain('heavy filters, odd in everything', [3, 7, 5, 263], [251, 3, 3, 263], {
        padding: same,
      }),
      plain('heavy filters without padding', [2, 11, 12, 128], [515, 3, 3, 128]),
      plain('heavy filters, more padding than they read', [1, 6, 6, 520], [130, 3, 3, 520], {
        padding: { top: 3, bottom: 0, left: 0, right: 4 },
      }),
      plain('heavy filters in two groups', [1, 9, 8, 514], [512, 3, 3, 257], {
        groups: 2,
        padding: same,
      }),
      plain('heavy filters, more than 128 tiles', [1, 24, 24, 256], [264, 3, 3, 256], {
        padding: same,
      }),
      plain('heavy filters, 4x4 tiles, odd in everything', [1, 34, 33, 263], [251, 3, 3, 263], {
        padding: same,
      }),
      plain('heavy filters, more than 256 tiles', [1, 33, 32, 1400], [47, 3, 3, 1400], {
        padding: same,
      }),
      fused('heavy filters: bias, channelAdd, SiLU and residual', [2, 8, 6, 264], 253),
      // Gradients of filters by tiles of 2x2 and, of fewer rows, of 1x2. In the others they are direct
      // or take few channels.
      plain('heavy filters, many small pictures', [31, 4, 4, 240], [224, 3, 3, 240], {
        padding: same,
      }),
      plain('heavy filters, small pictures of odd width', [19, 4, 3, 250], [245, 3, 3, 250], {
        padding: same,
      }),
      plain('light filters, one picture', [1, 33, 27, 20], [18, 3, 3, 20], { padding: same }),
      plain('heavy filters, one picture', [1, 36, 31, 216], [216, 3, 3, 216], { padding: same }),
    ].map((heavy) => ({ ...heavy, dtypes: ['float32', 'bfloat16'] as const, large: true })),
    // Whole 16 bytes of channels: on a GPU 3x3 filters of stride 1 go by tiles with a border, whose
    // size depends on the number of pixels and filters.
    plain('border tiles: an image no tile divides', [1, 14, 22, 8], [8, 3, 3, 8], {
      padding: same,
    }),
    plain('border tiles: two small images in one', [2, 8, 8, 40], [112, 3, 3, 40], {
      padding: same,
    }),
    plain('border tiles: split channels, a rest of them', [1, 8, 15, 136], [72, 3, 3, 136], {
      padding: same,
    }),
    plain('border tiles: uneven padding', [1, 7, 15, 16], [128, 3, 3, 16], {
      padding: { bottom: 2, left: 2 },
    }),
    plain('border tiles: no padding, filters left over', [2, 10, 9, 24], [33, 3, 3, 24]),
    plain('border tiles: large, 8 filters', [4, 16, 16, 8], [8, 3, 3, 8], { padding: same }),
    plain('border tiles: large, 32 filters', [4, 15, 16, 8], [32, 3, 3, 8], { padding: same }),
    plain('border tiles: large, 64 filters', [4, 16, 16, 8], [56, 3, 3, 8], { padding: same }),
    plain('border tiles: large, 96 filters', [2, 16, 16, 8], [192, 3, 3, 8], { padding: same }),
    plain('border tiles: large, 112 filters', [2, 14, 16, 16], [224, 3, 3, 16], { padding: same }),
    plain('border tiles: large, 128 filters', [2, 16, 14, 8], [256, 3, 3, 8], { padding: same }),
    plain('border tiles: four small images in one', [16, 8, 8, 8], [8, 3, 3, 8], {
      padding: same,
    }),
    plain('border tiles: two groups', [2, 8, 8, 32], [24, 3, 3, 16], { groups: 2, padding: same }),
    plain('border tiles: 4x4', [1, 8, 16, 8], [16, 4, 4, 8], {
      padding: { top: 1, bottom: 2, left: 1, right: 2 },
    }),
    plain('border tiles: 5x3', [1, 10, 16, 16], [8, 5, 3, 16], { padding: same }),
    // More than 64 filters: on a Hopper bulk copies bring tiles of 128 pixels, with the border that all
    // taps share or, where taps are apart or tiles of 8 x 8 pixels mostly padding, tap by tap. Channels
    // go by 64, with a rest; few tiles are split.
    plain('bulk tiles: 256 filters, a rest of everything', [2, 12, 9, 32], [248, 3, 3, 32], {
      padding: same,
    }),
    plain('bulk tiles: 224 filters, two small images in one', [5, 8, 8, 32], [224, 3, 3, 32], {
      padding: same,
    }),
    plain(
      'bulk tiles: 192 filters, split, more than there are blocks',
      [1, 12, 12, 96],
      [192, 3, 3, 96],
      {
        padding: same,
      },
    ),
    plain('bulk tiles: 160 filters, eight small images in one', [5, 4, 4, 64], [160, 3, 3, 64], {
      padding: same,
    }),
    plain('bulk tiles: 128 filters, no tile is full', [2, 7, 8, 128], [120, 3, 3, 128], {
      padding: same,
    }),
    plain('bulk tiles: a wide image, uneven padding', [1, 3, 47, 64], [136, 3, 3, 64], {
      padding: { top: 2, left: 3, right: 1 },
    }),
    plain('bulk tiles: no padding', [1, 10, 17, 72], [160, 3, 3, 72]),
    plain('bulk tiles: 320 channels', [1, 5, 9, 320], [160, 3, 3, 320], { padding: same }),
    plain('bulk tiles: 5x3', [1, 8, 15, 64], [136, 5, 3, 64], { padding: same }),
    plain('bulk tiles: 3x2, dilated', [1, 9, 16, 120], [136, 3, 2, 120], {
      dilation: [2, 3],
      padding: { top: 1, bottom: 2, left: 3 },
    }),
    plain('bulk tiles: the four classes of a stride', [1, 8, 16, 200], [128, 4, 4, 200], {
      stride: [2, 2],
      padding: same,
    }),
    plain('bulk tiles: 256 filters, rows dilated', [2, 12, 9, 32], [248, 3, 3, 32], {
      dilation: [2, 1],
      padding: { top: 2, bottom: 2, left: 1, right: 1 },
    }),
    plain('bulk tiles: 224 filters, columns dilated', [5, 8, 8, 32], [224, 3, 3, 32], {
      dilation: [1, 2],
      padding: { top: 1, bottom: 1, left: 2, right: 2 },
    }),
    plain('bulk tiles: 192 filters, dilated, split', [1, 12, 12, 96], [192, 3, 3, 96], {
      dilation: [2, 2],
      padding: { top: 2, bottom: 2, left: 2, right: 2 },
    }),
    plain('bulk tiles with a border: 16 x 8, no tile is full', [2, 15, 22, 24], [248, 3, 3, 24], {
      padding: same,
    }),
    plain('bulk tiles with a border: 8 x 16, odd sizes', [2, 31, 7, 40], [128, 3, 3, 40], {
      padding: same,
    }),
    plain('bulk tiles with a border: 8 x 16, 224 filters', [4, 16, 8, 32], [224, 3, 3, 32], {
      padding: same,
    }),
    plain('bulk tiles with a border: two images, one is missing', [3, 8, 8, 64], [65, 3, 3, 64], {
      padding: same,
    }),
    plain('bulk tiles with a border: several columns of tiles', [2, 8, 8, 32], [520, 3, 3, 32], {
      padding: same,
    }),
    plain('bulk tiles with a border: several tiles to a block', [4, 16, 14, 72], [256, 2, 2, 72], {
      padding: { bottom: 1, right: 1 },
    }),
    plain('bulk tiles with a border: 5x5', [2, 16, 16, 16], [128, 5, 5, 16], {
      padding: { top: 2, bottom: 2, left: 2, right: 2 },
    }),
    plain('bulk tiles with a border: 2x3, split', [1, 15, 15, 104], [192, 2, 3, 104], {
      padding: same,
    }),
    plain('bulk tiles with a border: 1x2', [2, 16, 17, 24], [160, 1, 2, 24]),
    plain('bulk tiles: 128 filters with a border', [1, 16, 15, 128], [128, 3, 3, 128], {
      padding: same,
    }),
    // The gradient of the input reads the filters as they lie, 64 channels of each at a time.
    plain('bulk tiles: 224 channels, 96 filters', [1, 8, 15, 224], [96, 3, 3, 224], {
      padding: same,
    }),
    plain('bulk tiles: 184 channels, 136 filters', [1, 8, 16, 184], [136, 3, 3, 184], {
      padding: same,
    }),
    plain('bulk tiles: 148 channels, no whole vectors', [1, 8, 15, 148], [136, 3, 3, 148], {
      padding: same,
    }),
    plain('bulk tiles: stride 2, pixels beyond the border', [2, 32, 32, 128], [64, 3, 3, 128], {
      stride: [2, 2],
      padding: { top: 2, left: 2 },
    }),
    fused('bulk tiles with a border: bias, channelAdd, SiLU and residual', [1, 16, 16, 64], 128),
    fused('bulk tiles with a border: all that, split', [1, 15, 16, 96], 112),
    // The gradient of the filters takes 64 pixels at a time, and 64 columns of each tap.
    plain('bulk tiles: 2x2, a rest of channels', [1, 8, 8, 104], [136, 2, 2, 104], {
      padding: { bottom: 1, right: 1 },
    }),
    plain('bulk tiles: 1x2, split pixels', [2, 16, 31, 40], [72, 1, 2, 40], {
      padding: { right: 1 },
    }),
    plain('bulk tiles: 2x2, split pixels', [2, 24, 15, 64], [72, 2, 2, 64], {
      padding: { top: 1, left: 1 },
    }),
    plain('bulk tiles: 1x1, split pixels', [2, 16, 31, 72], [72, 1, 1, 72]),
    fused('bulk tiles: bias, channelAdd, SiLU and residual', [2, 8, 8, 64], 128),
    fused('bulk tiles: bias, channelAdd, SiLU and residual, split', [1, 8, 15, 128], 104),
    fused('border tiles: bias, channelAdd, SiLU and residual', [2, 8, 8, 16], 24),
    fused('border tiles: bias, channelAdd, SiLU and residual, split', [1, 8, 16, 128], 16),
    plain('whole vectors: 1x1', [2, 7, 9, 40], [72, 1, 1, 40]),
    plain('whole vectors: 1x1 in two groups', [1, 7, 9, 48], [32, 1, 1, 24], { groups: 2 }),
    plain('whole vectors: 1x1, many pixels', [2, 12, 21, 104], [120, 1, 1, 104]),
    plain('whole vectors: 1x1, many pixels, two groups', [1, 21, 24, 144], [208, 1, 1, 72], {
      groups: 2,
    }),
    plain('whole vectors out, ten channels in: 1x1', [1, 9, 9, 10], [48, 1, 1, 10]),
    plain('whole vectors: 1x1, stride 2', [2, 7, 9, 40], [24, 1, 1, 40], { stride: [2, 2] }),
    plain('whole vectors: downsampling', [2, 10, 8, 24], [40, 3, 3, 24], {
      stride: [2, 2],
      padding: { bottom: 1, right: 1 },
    }),
    plain('whole vectors: 4x4, stride 2', [1, 12, 10, 16], [32, 4, 4, 16], {
      stride: [2, 2],
      padding: same,
    }),
    plain('whole vectors: stride 3, dilation 2', [1, 13, 11, 16], [8, 3, 2, 16], {
      stride: [3, 2],
      dilation: [2, 3],
      padding: { top: 2, left: 1, right: 3 },
    }),
    plain('three channels in, whole vectors out', [2, 9, 8, 3], [40, 3, 3, 3], { padding: same }),
    plain('three channels out, whole vectors in', [2, 9, 8, 40], [3, 3, 3, 40], { padding: same }),
    plain('five channels in, whole vectors out', [1, 7, 8, 5], [24, 3, 3, 5], { padding: same }),
    plain('whole vectors in, seventeen filters', [1, 7, 9, 16], [17, 3, 3, 16], { padding: same }),
    {
      name: 'an image that starts between whole vectors',
      inputs: { x: { shape: [1 + 8 * 16 * 8], grad: false }, weight: spread([9, 3, 3, 8]) },
      run: ({ x, weight }) => conv2d(viewOf(x, [1, 8, 16, 8], 1), weight, null, { padding: 1 }),
      tolerance: 'matmul',
      reduction: 128,
    },
    plain('seven channels', [1, 9, 10, 7], [12, 3, 3, 7], { padding: same }),
    fused('bias, channelAdd, SiLU and residual', [2, 4, 3, 8], 18),
    fused('bias, channelAdd, SiLU and residual over many pixels', [3, 9, 12, 17], 21),
    fused('bias, channelAdd, SiLU and residual over wide tiles', [2, 12, 15, 16], 104),
    fused('bias, channelAdd, SiLU and residual over wide tiles, whole fours', [1, 16, 15, 16], 100),
    rounded('border tiles', [1, 8, 15, 68], [72, 3, 3, 68], { padding: same }),
    rounded('border tiles, 128 filters', [1, 8, 15, 12], [120, 3, 3, 12], { padding: same }),
    rounded('border tiles, 112 filters', [1, 8, 15, 12], [224, 3, 3, 12], { padding: same }),
    rounded('large border tiles', [4, 16, 16, 4], [12, 3, 3, 4], { padding: same }),
    rounded('downsampling', [2, 10, 8, 12], [40, 3, 3, 12], {
      stride: [2, 2],
      padding: { bottom: 1, right: 1 },
    }),
    {
      name: 'bias and residual over whole and cut tiles, stride 2',
      inputs: {
        x: [3, 13, 15, 20],
        weight: [80, 3, 3, 20],
        bias: [80],
        residual: [3, 7, 8, 80],
      },
      run: ({ x, weight, bias, residual }) =>
        conv2d(x, weight, bias, { stride: 2, padding: 1, residual }),
      reference: (inputs) => reference(inputs, { stride: [2, 2], padding: same }),
      tolerance: 'matmul',
      reduction: 9 * 20,
    },
    {
      name: 'residual and channelAdd alone',
      inputs: {
        x: [2, 3, 3, 4],
        weight: spread([6, 1, 1, 4]),
        channelAdd: [2, 6],
        residual: [2, 3, 3, 6],
      },
      run: ({ x, weight, channelAdd, residual }) =>
        conv2d(x, weight, null, { channelAdd, residual }),
      reference: (inputs) => reference(inputs, {}),
      tolerance: 'matmul',
      reduction: 18,
    },
    {
      name: 'an empty batch',
      inputs: { x: [0, 4, 4, 3], weight: [5, 3, 3, 3] },
      run: ({ x, weight }) => conv2d(x, weight, null, { padding: 1 }),
      reference: () => ({ data: new Float64Array(0), shape: [0, 4, 4, 5] }),
      grad: false,
    },
    timed(16, 8, 256, 256),
    timed(16, 16, 64, 64),
    timed(16, 64, 32, 32),
    timed(16, 64, 64, 64, 3, { stride: 2 }),
    timed(16, 64, 3, 32),
    timed(16, 8, 256, 256, 1),
  ],
  errors: [
    {
      name: 'channels do not fit',
      run: () => conv2d(ones([1, 8, 8, 3]), ones([6, 3, 3, 4])),
      message:
        /conv2d: weight .*\[6, 3, 3, 4\] in 1 group\(s\) takes 4 channels\. Got x .*\[1, 8, 8, 3\] with 3/,
    },
    {
      name: 'groups do not divide',
      run: () => conv2d(ones([1, 8, 8, 3]), ones([6, 3, 3, 3]), null, { groups: 2 }),
      message: /conv2d: groups \(2\) must divide the channels of x \[1, 8, 8, 3\]/,
    },
    {
      name: 'kernel larger than the image',
      run: () => conv2d(ones([1, 2, 2, 3]), ones([6, 5, 5, 3]), null, { padding: 1 }),
      message: /conv2d: a 5x5 kernel .* does not fit into x \[1, 2, 2, 3\] with padding 1, 1, 1, 1/,
    },
    {
      name: 'three axes',
      run: () => conv2d(ones([8, 8, 3]), ones([6, 3, 3, 3])),
      message: /conv2d: x must have 4 dimensions, got shape \[8, 8, 3\]/,
    },
    {
      name: 'stride zero',
      run: () => conv2d(ones([1, 8, 8, 3]), ones([6, 3, 3, 3]), null, { stride: 0 }),
      message: /conv2d: stride must be integers >= 1, got 0, 0/,
    },
    {
      name: 'negative padding',
      run: () => conv2d(ones([1, 8, 8, 3]), ones([6, 3, 3, 3]), null, { padding: { bottom: -1 } }),
      message: /conv2d: padding must be integers >= 0/,
    },
    {
      name: 'channelAdd of the wrong batch',
      run: () => conv2d(ones([2, 8, 8, 3]), ones([6, 1, 1, 3]), null, { channelAdd: ones([1, 6]) }),
      message: /conv2d: channelAdd must have shape \[batch, outputs\] \[2, 6\], got \[1, 6\]/,
    },
    {
      name: 'residual of the wrong size',
      run: () =>
        conv2d(ones([1, 8, 8, 3]), ones([6, 3, 3, 3]), null, { residual: ones([1, 8, 8, 6]) }),
      message: /conv2d: residual must have the result's shape \[1, 6, 6, 6\], got \[1, 8, 8, 6\]/,
    },
    {
      name: 'unknown activation',
      run: () =>
        conv2d(ones([1, 8, 8, 3]), ones([6, 3, 3, 3]), null, { activation: 'gelu' as never }),
      message: /conv2d: activation must be 'silu' or missing, got 'gelu'/,
    },
  ],
} satisfies OpCases;
