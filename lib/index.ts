// The public surface of emulsion.
export * from './errors.js';
export { dtypes, isFloating, type DType, type TypedArray } from './dtype.js';
export {
  Device,
  device,
  devices,
  defaultDevice,
  setDefaultDevice,
  engineInfo,
  getFloat32MatmulPrecision,
  setFloat32MatmulPrecision,
  type Float32MatmulPrecision,
  setNumThreads,
} from './device.js';
export type { CudaInfo, EngineInfo, GpuInfo, MemoryStats } from './native.js';
export { Tensor, type TensorOptions } from './tensor.js';
export {
  tensor,
  empty,
  full,
  zeros,
  ones,
  zerosLike,
  onesLike,
  arange,
  linspace,
  eye,
  type CreationOptions,
  type FromDataOptions,
  type Nested,
} from './creation.js';
export { scope, tidy, keep, type ScopeHandle } from './scope.js';
export { leakReport, type Leak } from './leaks.js';
export {
  op,
  noGrad,
  enableGrad,
  isGradEnabled,
  backward,
  grad,
  registerHook,
  checkpoint,
  type BackwardOptions,
  type GradOptions,
  type Hook,
  type Recording,
  type Rule,
} from './autograd/index.js';
export { capture, CapturePool, type CaptureOptions, type CapturedStep } from './capture.js';
export * from './ops/index.js';
export { autocast, autocastDType } from './ops/autocast.js';
export type { LowDType } from './ownership.js';
export {
  Generator,
  defaultGenerator,
  manualSeed,
  noise,
  rand,
  randint,
  randn,
  uniformNoise,
  type GeneratorState,
  type NoiseOptions,
  type RandomOptions,
  type SourceOptions,
} from './random.js';
export { TorchGenerator, type TorchGeneratorState } from './torch_random.js';
export * from './optim/index.js';
export * from './io/index.js';
export * from './nn/index.js';
export * from './metrics/index.js';
export * from './data/index.js';
export * from './ldm/index.js';
export * from './config/index.js';
export * from './train/index.js';
export * from './report/index.js';
export * from './eval/index.js';
