// Configurations: YAML in the original's form, read into typed plain data and built by registered targets.
import './annotated_datasets.js';
export {
  dataModuleTargets,
  type DataInstance,
  type DataOptions,
  type DataSpec,
  type TrainingData,
} from './data.js';
export { datasetTargets, type DatasetInstance, type ImageSetSpec } from './datasets.js';
export { ConfigError, type Place } from './error.js';
export { conditionerField, conditionerTargets } from './conditioners.js';
export {
  diffusionModelTargets,
  type DiffusionEntry,
  type DiffusionInstance,
  type DiffusionTrainingParams,
} from './diffusion_models.js';
/** Readers of values, for targets of one's own. */
export * as configFields from './fields.js';
export {
  firstStageTargets,
  type FirstStageEntry,
  type FirstStageInstance,
} from './first_stages.js';
export { lossTargets, type FirstStageLoss, type LossInstance, type LossSpec } from './losses.js';
export type {
  CheckpointSection,
  ImageLoggerSection,
  TrainerSection,
  TrainingDType,
} from './lightning.js';
export { loadConfigTree, parseOverride } from './merge.js';
export { toPlain, type ConfigNode, type MappingNode } from './node.js';
export { noisyClassifierTargets, type NoisyClassifierEntry } from './noisy_classifiers.js';
export { scheduleTargets, type ScheduleInstance } from './schedules.js';
export { Targets, type Instance, type Target } from './targets.js';
export {
  readModel,
  readTraining,
  readTrainingDType,
  type RunSection,
  type TrainingConfig,
} from './training.js';
export { formatYaml, parseYaml } from './yaml.js';
export { classifierTargets, unetTargets, type UNetInstance } from './unets.js';
