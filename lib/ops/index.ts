export { reshape, detach } from './view.js';
export { attention, type AttentionOptions } from './attention.js';
export { avgPool2d, maxPool2d, type Pool2dOptions } from './pool.js';
export { embedding } from './embedding.js';
export { nearestCodes } from './nearest_codes.js';
export { resize, upsampleNearest2x, type ResizeOptions } from './resize.js';
export { timestepEmbedding, type TimestepEmbeddingOptions } from './timestep_embedding.js';
export { cast, transfer } from './cast.js';
export {
  neg,
  abs,
  sign,
  square,
  sqrt,
  rsqrt,
  reciprocal,
  exp,
  expm1,
  log,
  log1p,
  sin,
  cos,
  floor,
  ceil,
  round,
  erf,
  tanh,
  sigmoid,
  softplus,
  silu,
  gelu,
  geluTanh,
  quickGelu,
  relu,
  leakyRelu,
  clamp,
  add,
  sub,
  mul,
  div,
  pow,
  maximum,
  minimum,
  eq,
  ne,
  lt,
  le,
  gt,
  ge,
  logicalAnd,
  logicalOr,
  logicalXor,
  logicalNot,
  isNaN,
  isFinite,
  where,
  lerp,
  type Operand,
} from './elementwise.js';
export {
  sum,
  mean,
  prod,
  max,
  min,
  variance,
  std,
  norm,
  any,
  all,
  type Axes,
  type ReduceOptions,
  type VarianceOptions,
} from './reduce.js';
export { argmax, argmin, cumsum, topK, type ArgOptions, type TopKOptions } from './scan.js';
export { geglu } from './geglu.js';
import './methods.js';
export {
  permute,
  transpose,
  concat,
  stack,
  split,
  chunk,
  slice,
  narrow,
  select,
  flip,
  expand,
  tile,
  squeeze,
  unsqueeze,
  flatten,
  type SliceRange,
} from './layout.js';
import './layout_methods.js';
export { pad, type PadOptions } from './pad.js';
export { gather, scatterAdd, indexSelect, indexAdd, oneHot } from './indexing.js';
export { dropout, type DropoutOptions } from './random.js';
export { matmul, type MatmulOptions } from './matmul.js';
export { linear, type LinearOptions, type FusedActivation } from './linear.js';
export { conv2d, type Conv2dOptions } from './conv2d.js';
export { groupNorm, type GroupNormOptions } from './group_norm.js';
export { layerNorm, type LayerNormOptions } from './layer_norm.js';
export { batchNorm, type BatchNormOptions } from './batch_norm.js';
export { softmax, logSoftmax } from './softmax.js';
export { crossEntropy, type CrossEntropyOptions } from './cross_entropy.js';
