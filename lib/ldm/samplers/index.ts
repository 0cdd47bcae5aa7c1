export { ddim, sampleDdim, type DdimOptions } from './ddim.js';
export {
  ddimSchedule,
  ddimTimesteps,
  type DdimSchedule,
  type Discretize,
} from './ddim_schedule.js';
export { ddpm, type DdpmOptions } from './ddpm.js';
export { guided, type ConditionalDenoiser, type Conditioning } from './guidance.js';
export { plms, type PlmsOptions } from './plms.js';
export {
  lastLatent,
  type LatentMask,
  type SamplerOptions,
  type SamplerRun,
  type SamplerStep,
} from './sampler.js';
