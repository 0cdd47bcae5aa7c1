// How pictures become small and bad for super-resolution.
export {
  checkDegradation,
  degradationNames,
  degrade,
  type DegradationName,
  type Degraded,
} from './degrade.js';
export type { DrawKey } from './draws.js';
export type { Noise } from './noise.js';
export { applySteps, type DegradationStep } from './steps.js';
