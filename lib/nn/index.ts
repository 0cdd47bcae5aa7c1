// Networks: modules, layers, the start of their weights, losses.
export { Module } from './module.js';
export { parameter, buffer } from './fields.js';
export { oihw, pointwise, channelVector, type FileLayout } from './file_layout.js';
export type { LoadOptions, LoadReport } from './state.js';
export * from './init.js';
export { Sequential, ModuleList } from './containers.js';
export { pipe } from './pipe.js';
export { Identity, SiLU, GELU, ReLU, LeakyReLU, Tanh } from './activations.js';
export { Dropout } from './dropout.js';
export { Linear, type LinearLayerOptions } from './linear.js';
export { Conv2d, type Conv2dLayerOptions, type Conv2dFusion } from './conv.js';
export { GroupNorm, LayerNorm, BatchNorm2d } from './norm.js';
export { type GroupNormLayerOptions, type BatchNorm2dLayerOptions } from './norm.js';
export { Embedding } from './embedding.js';
export { UpsampleNearest2x, AvgPool2d, MaxPool2d } from './resize.js';
export { mseLoss, l1Loss, huberLoss, type LossOptions } from './loss.js';
