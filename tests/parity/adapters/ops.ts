// Single operations.
import {
  attention,
  avgPool2d,
  batchNorm,
  conv2d,
  crossEntropy,
  embedding,
  geglu,
  gelu,
  groupNorm,
  layerNorm,
  leakyRelu,
  linear,
  maxPool2d,
  quickGelu,
  relu,
  resize,
  sigmoid,
  silu,
  softmax,
  softplus,
  tanh,
  timestepEmbedding,
  upsampleNearest2x,
  type Tensor,
} from '../../../lib/index.js';
import { Unsupported, type Adapter } from '../runner.js';
import { computation } from './support.js';

const activations: Record<string, (x: Tensor) => Tensor> = {
  silu,
  gelu_erf: (x) => gelu(x),
  quick_gelu: quickGelu,
  leaky_relu_02: (x) => leakyRelu(x, 0.2),
  relu,
  tanh,
  sigmoid,
  softplus,
  geglu,
};

const sequence = { x: 'channels', y: 'channels' } as const;
const plain = { x: 'same', y: 'same', weight: 'same' } as const;

export const ops: readonly Adapter[] = [
  computation({
    subject: 'conv2d',
    accuracy: 'matmul',
    compute: (args) => {
      const stride = args.number('stride');
      // PyTorch's order; two numbers are a convolution along one axis
      const [left, right, top = 0, bottom = 0] = args.list('pad')!;
      const padding = { left, right, top, bottom };
      return {
        layouts: { ...sequence, weight: 'channels' },
        forward: ({ x, weight, bias }) => {
          if (x.rank === 4) return { y: conv2d(x, weight, bias, { stride, padding }) };
          const [N, L, C] = x.shape;
          const [K, S] = weight.shape;
          const y = conv2d(x.reshape([N, 1, L, C]), weight.reshape([K, 1, S, C]), bias, {
            stride: [1, stride],
            padding,
          });
          return { y: y.reshape([N, -1, K]) };
        },
      };
    },
  }),
  computation({
    subject: 'linear',
    accuracy: 'matmul',
    compute: () => ({
      layouts: plain,
      forward: ({ x, weight, bias }) => ({ y: linear(x, weight, bias) }),
    }),
  }),
  computation({
    subject: 'group_norm',
    accuracy: 'elementwise',
    compute: (args) => {
      const [groups, eps] = [args.number('num_groups'), args.number('eps')];
      const activation = args.flag('silu') ? 'silu' : undefined;
      return {
        layouts: sequence,
        forward: ({ x, weight, bias }) => ({
          y: groupNorm(x, groups, weight, bias, { eps, activation }),
        }),
      };
    },
  }),
  computation({
    subject: 'layer_norm',
    accuracy: 'elementwise',
    compute: (args) => {
      const eps = args.number('eps');
      return {
        layouts: plain,
        forward: ({ x, weight, bias }) => ({ y: layerNorm(x, weight, bias, { eps }) }),
      };
    },
  }),
  computation({
    subject: 'batch_norm2d',
    accuracy: 'elementwise',
    compute: (args) => {
      const [training, momentum, eps] = [
        args.flag('training'),
        args.number('momentum'),
        args.number('eps'),
      ];
      return {
        forward: ({ x, weight, bias, running_mean: runningMean, running_var: runningVar }) => {
          const y = batchNorm(x, weight, bias, runningMean, runningVar, {
            training,
            momentum,
            eps,
          });
          return { y, running_mean: runningMean, running_var: runningVar };
        },
      };
    },
  }),
  computation({
    subject: 'attention',
    accuracy: 'matmul',
    compute: (args) => {
      args.ignore('heads', 'head_dim');
      return {
        layouts: { q: 'heads', k: 'heads', v: 'heads', o: 'heads' },
        forward: ({ q, k, v, mask }) => ({ o: attention(q, k, v, { mask }) }),
      };
    },
  }),
  computation({
    subject: 'activation',
    accuracy: 'elementwise',
    compute: (args, golden) => {
      const name = args.text('name', golden.name ?? '');
      const activation = activations[name];
      if (!activation) throw new Unsupported(`activation '${name}'`);
      return { layouts: plain, forward: ({ x }) => ({ y: activation(x) }) };
    },
  }),
  computation({
    subject: 'softmax',
    accuracy: 'elementwise',
    compute: (args) => {
      const axis = args.number('dim');
      return { layouts: plain, forward: ({ x }) => ({ y: softmax(x, axis) }) };
    },
  }),
  computation({
    subject: 'upsample_nearest2x',
    accuracy: 'elementwise',
    compute: () => ({ forward: ({ x }) => ({ y: upsampleNearest2x(x) }) }),
  }),
  computation({
    subject: 'avg_pool2d',
    accuracy: 'elementwise',
    compute: (args) => {
      const window = { kernel: args.number('kernel'), stride: args.number('stride') };
      return { forward: ({ x }) => ({ y: avgPool2d(x, window) }) };
    },
  }),
  computation({
    subject: 'max_pool2d',
    accuracy: 'elementwise',
    compute: (args) => {
      const window = { kernel: args.number('kernel'), stride: args.number('stride') };
      return { forward: ({ x }) => ({ y: maxPool2d(x, window) }) };
    },
  }),
  computation({
    subject: 'embedding',
    accuracy: 'elementwise',
    compute: () => ({
      layouts: plain,
      forward: ({ ids, weight }) => ({ y: embedding(weight, ids) }),
    }),
  }),
  computation({
    subject: 'timestep_embedding',
    accuracy: 'elementwise',
    // both tables are compared with one result: the reference's own phases are off by 1e-4 at large t
    limit: (golden, name) => Math.max(1e-6, 10 * golden.measuredError(name.replace(/_f64$/, ''))),
    compute: (args) => {
      const [dim, maxPeriod] = [args.number('dim'), args.number('max_period')];
      const variant = args.text('variant') as 'ldm' | 'ddpm';
      return {
        forward: ({ t }) => {
          const emb = timestepEmbedding(t, dim, { maxPeriod, variant });
          return { emb, emb_f64: emb };
        },
      };
    },
  }),
  computation({
    subject: 'cross_entropy',
    accuracy: 'elementwise',
    compute: (args) => {
      const [labelSmoothing, ignoreIndex] = [
        args.number('label_smoothing'),
        args.number('ignore_index'),
      ];
      return {
        loss: 'loss',
        layouts: { x: 'channels' },
        forward: ({ x, target }) => ({
          loss: crossEntropy(x, target, { labelSmoothing, ignoreIndex }),
        }),
      };
    },
  }),
  computation({
    subject: 'resize',
    accuracy: 'elementwise',
    compute: (args) => {
      const options = {
        mode: args.text('mode') as 'nearest' | 'bilinear' | 'bicubic' | 'area',
        size: args.list('size') as [number, number] | undefined,
        scaleFactor: args.optional('scale_factor'),
        alignCorners: args.flag('align_corners'),
        antialias: args.flag('antialias'),
      };
      return { forward: ({ x }) => ({ y: resize(x, options) }) };
    },
  }),
];
