// The original's data module as a target: data sets by split, made into loaders.
import { DataLoader, ImageFolder, type Dataset } from '../data/index.js';
import type { ConditionerSpec } from '../ldm/index.js';
import { datasetTargets, type DatasetInstance } from './datasets.js';
import { boolean, integer, mapping, optional } from './fields.js';
import { Targets, type Instance } from './targets.js';

/** What a data module says. */
export interface DataSpec {
  readonly batchSize: number;
  /** threads that make pictures ready, default 2 */
  readonly numWorkers?: number;
  readonly train?: DatasetInstance;
  readonly validation?: DatasetInstance;
  /** put other pictures in the place of damaged ones instead of stopping, default false */
  readonly skipDamaged?: boolean;
}

/** The data of a training. */
export interface TrainingData {
  readonly train?: DataLoader;
  readonly validation?: DataLoader;
}

/** What building data takes. */
export interface DataOptions {
  /** Decides the order. */
  readonly seed: number;
  /** Reads what batches hold of their pictures beside class labels. Default: they hold nothing more. */
  readonly conditioner?: ConditionerSpec;
}

export type DataInstance = Instance<DataSpec, Promise<TrainingData>, [options: DataOptions]>;

const remedy = 'Remove or replace it, or set data.params.skip_damaged=true.';

/** What may stand as `data`. Building lists the pictures. */
export const dataModuleTargets = new Targets<DataSpec, Promise<TrainingData>, [DataOptions]>(
  'a data module',
);

dataModuleTargets.register(['main.DataModuleFromConfig', 'emulsion.DataModule'], {
  params: mapping<DataSpec>(
    {
      batch_size: integer({ min: 1 }),
      num_workers: optional(integer({ min: 0 })),
      train: optional(datasetTargets.field),
      validation: optional(datasetTargets.field),
      skip_damaged: optional(boolean),
    },
    // The order of validation pictures is fixed here; wrapping only adds an indirection.
    [
      'test',
      'predict',
      'wrap',
      'shuffle_test_loader',
      'shuffle_val_dataloader',
      'use_worker_init_fn',
    ],
  ),
  async build(
    { batchSize, numWorkers: workers, train, validation, skipDamaged },
    { seed, conditioner },
  ) {
    const onDamaged: 'skip' | 'throw' = skipDamaged ? 'skip' : 'throw';
    const loader = async (
      set: DatasetInstance | undefined,
      dropLast: boolean,
      classes?: readonly string[],
    ) => {
      if (!set) return undefined;
      const { transform } = set.spec;
      const condition = conditioner && (await set.spec.condition?.(conditioner));
      const options = { batchSize, transform, seed, dropLast, onDamaged, remedy, condition };
      return new DataLoader(await set.build(classes), {
        ...options,
        ...(workers !== undefined && { workers }),
      });
    };
    const trained = await loader(train, true);
    // A validation set may lack a class, and a label must mean the same in both.
    const validated = await loader(validation, false, trained && classesOf(trained.dataset));
    return { train: trained, validation: validated };
  },
});

const classesOf = (dataset: Dataset): readonly string[] | undefined =>
  dataset instanceof ImageFolder && dataset.classes.length > 0 ? dataset.classes : undefined;
