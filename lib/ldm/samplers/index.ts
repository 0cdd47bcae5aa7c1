export { ddim, sampleDdim, type DdimOptions } from './ddim.js';
export {
  ddimSchedule,
  ddimTimesteps,
  type DdimSchedule,
  type Discretize,
} from './ddim_schedule.js';
export { ddpm, type DdpmOptions } from './ddpm.js';
export { dpmSolverPlusPlus, type DpmSolverOptions } from './dpm_solver.js';
export { euler, eulerAncestral, type EulerAncestralOptions, type EulerOptions } from './euler.js';
export {
  classifierGuided,
  guided,
  guidedPairs,
  joinConditioning,
  type ClassifierGuidance,
  type ConditionalDenoiser,
  type Conditioning,
} from './guidance.js';
export { plms, type PlmsOptions } from './plms.js';
export {
  lastLatent,
  type ImageStart,
  type LatentMask,
  type SamplerOptions,
  type SamplerRun,
  type SamplerStep,
  type StepPlan,
} from './sampler.js';
export { solverGrid, type SolverGrid, type SolverOptions, type Spacing } from './solver_grid.js';
export { unipc, type UniPcOptions } from './unipc.js';
