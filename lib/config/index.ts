// Configurations: YAML in the original's form, read into typed plain data.
export { ConfigError, type Place } from './error.js';
export { loadConfigTree, merge, mergeAll, parseOverride } from './merge.js';
export { formatYaml } from './yaml.js';
export { toPlain, type ConfigNode } from './node.js';
export { Targets, type Instance, type Target } from './targets.js';
export { readTraining, type TrainingConfig } from './training.js';
export { firstStages, type FirstStageEntry, type FirstStageInstance } from './first_stages.js';
export { unets, type UNetInstance } from './unets.js';
export { conditionerField, conditioners } from './conditioners.js';
export {
  diffusionModels,
  type DiffusionEntry,
  type DiffusionInstance,
  type DiffusionTrainingParams,
} from './diffusion_models.js';
export { losses } from './losses.js';
export { schedules } from './schedules.js';
