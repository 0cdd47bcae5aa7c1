// A whole configuration of a training in the original's form: `model`, `data` and `lightning`.
import { dataModuleTargets, type DataInstance } from './data.js';
import { ConfigError } from './error.js';
import { boolean, integer, mapping, number, oneOf, optional, subtree, text } from './fields.js';
import {
  ignoredSettings,
  lightningField,
  type CheckpointSection,
  type ImageLoggerSection,
  type LightningSection,
  type TrainerSection,
  type TrainingDType,
} from './lightning.js';
import { nodeAt, type ConfigNode } from './node.js';
import { targetFields, type Instance, type TargetEntry, type Targets } from './targets.js';

/** What a configuration says of a training. */
export interface TrainingConfig<Spec, Built, Context extends unknown[]> {
  readonly model: Instance<Spec, Built, Context>;
  /** `model.base_learning_rate` */
  readonly baseLearningRate: number;
  readonly data?: DataInstance;
  /** `lightning.trainer` */
  readonly trainer: TrainerSection;
  /** `lightning.modelcheckpoint` */
  readonly checkpoints: CheckpointSection;
  /** `lightning.callbacks.image_logger` */
  readonly imageLogger: ImageLoggerSection;
  /** `emulsion` */
  readonly run: RunSection;
  /** paths of the original's settings that would change a training there, and change nothing here */
  readonly ignored: readonly string[];
}

/** What the original takes on its command line, and what it has no name for: our own top-level key. */
export interface RunSection {
  /** of everything random; default 23 */
  seed?: number;
  /** multiply the base learning rate with the images in a step; default true */
  scaleLr?: boolean;
  /** of matrix work; default: what `lightning.trainer.precision` says, or float32 */
  dtype?: TrainingDType;
  /** steps between two lines of numbers, default 10 */
  logEvery?: number;
  /** steps between two saved states, default 1000 */
  saveEvery?: number;
  /** steps between two validations, default 1000; 0: none */
  validateEvery?: number;
  /** keep a moving average of the weights; default as `use_ema` says */
  ema?: boolean;
  /** encode the pictures of a diffusion model's training once instead of in every step; default false */
  cacheLatents?: boolean;
  /** record losses that can be recorded, and replay them; default true */
  capture?: boolean;
  /** where to train, `cpu` or a GPU such as `cuda:0`; default: a GPU if there is one */
  device?: string;
  /** also write event files for TensorBoard; default false */
  tensorboard?: boolean;
}

const model = mapping<TargetEntry & { baseLearningRate: number }>({
  ...targetFields,
  base_learning_rate: number({ min: 0 }),
});

const count = integer({ min: 0 });

const run = mapping<RunSection>({
  seed: optional(count),
  scale_lr: optional(boolean),
  dtype: optional(oneOf('float32', 'bfloat16', 'float16')),
  log_every: optional(count),
  save_every: optional(count),
  validate_every: optional(count),
  ema: optional(boolean),
  cache_latents: optional(boolean),
  capture: optional(boolean),
  device: optional(text),
  tensorboard: optional(boolean),
});

const modelAlone = mapping<TargetEntry>(targetFields, ['base_learning_rate']);

/**
 * Reads what a configuration says of its model, whatever else is in it: for models that are used and not
 * trained.
 *
 * @throws ConfigError with file, line and column of the first thing that is wrong
 */
export function readModel<Spec, Built, Context extends unknown[]>(
  tree: ConfigNode,
  models: Targets<Spec, Built, Context>,
): Instance<Spec, Built, Context> {
  const node = nodeAt(tree, ['model']);
  if (!node) throw new ConfigError("the configuration needs the key 'model'.", tree.place);
  return models.find(node, modelAlone.read(node, 'model'));
}

/** The dtype of matrix work that a configuration asks for, whatever its model. @throws ConfigError */
export function readTrainingDType(tree: ConfigNode): TrainingDType {
  return dtypeOf(settingsAlone.read(tree, 'the configuration')) ?? 'float32';
}

interface Settings {
  lightning?: LightningSection;
  emulsion?: RunSection;
}

const settingsAlone = mapping<Settings>(
  { lightning: optional(lightningField), emulsion: optional(run) },
  ['model', 'data'],
);

// Our own word before the original's.
const dtypeOf = ({ lightning, emulsion }: Settings): TrainingDType | undefined =>
  emulsion?.dtype ?? lightning?.trainer?.precision;

interface Project extends Settings {
  model: ConfigNode;
  data?: DataInstance;
}

const project = mapping<Project>({
  model: subtree,
  data: optional(dataModuleTargets.field),
  lightning: optional(lightningField),
  emulsion: optional(run),
});

/**
 * Reads a merged configuration.
 *
 * @param models the targets that may stand as `model`
 * @throws ConfigError with file, line and column of the first thing that is wrong
 */
export function readTraining<Spec, Built, Context extends unknown[]>(
  tree: ConfigNode,
  models: Targets<Spec, Built, Context>,
): TrainingConfig<Spec, Built, Context> {
  const read = project.read(tree, 'the configuration');
  const { model: node, data, lightning = {}, emulsion } = read;
  const { baseLearningRate, ...entry } = model.read(node, 'model');
  const dtype = dtypeOf(read);
  return {
    model: models.find(node, entry),
    baseLearningRate,
    data,
    trainer: lightning.trainer ?? {},
    checkpoints: lightning.modelcheckpoint?.params ?? {},
    imageLogger: lightning.callbacks?.imageLogger?.params ?? {},
    run: { ...emulsion, ...(dtype && { dtype }) },
    ignored: ignoredSettings(tree),
  };
}
