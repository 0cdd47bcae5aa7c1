export {
  Optimizer,
  type OptimizerState,
  type ParamGroup,
  type Parameters,
  type StepOptions,
} from './optimizer.js';
export { Adam, AdamW, type AdamOptions } from './adam.js';
export { Muon, type MuonOptions } from './muon.js';
export { SGD, type SGDOptions } from './sgd.js';
export { clipGradNorm, clipScale, gradNorm, scaleGradients } from './gradients.js';
export { GradScaler, type GradScalerOptions, type GradScalerState } from './grad_scaler.js';
export { Ema, type AverageStart, type EmaOptions } from './ema.js';
export {
  LambdaLR,
  LambdaLinearScheduler,
  LambdaWarmUpCosineScheduler,
  LambdaWarmUpCosineScheduler2,
  type CycleOptions,
  type Schedule,
  type WarmUpCosineOptions,
} from './schedule.js';
