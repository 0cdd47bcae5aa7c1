// The original's training of a classifier of noisy latents as a target.
import type { EncoderPool } from '../ldm/index.js';
import { convert, integer, mapping, number, oneOf, optional, text, unsupported } from './fields.js';
import { scheduleTargets, type ScheduleInstance } from './schedules.js';
import { Targets } from './targets.js';

/** What a configuration says of a classifier of noisy latents. */
export interface NoisyClassifierEntry {
  /** the diffusion model that it will guide: its folder, or that of its run */
  readonly diffusionPath: string;
  readonly numClasses: number;
  /** default 'attention' */
  readonly pool?: EncoderPool;
  /** a saved classifier to begin with */
  readonly ckptPath?: string;
  readonly schedulerConfig?: ScheduleInstance;
  /** default 0.01 */
  readonly weightDecay?: number;
  /** the validation number that tells which states are the best */
  readonly monitor?: string;
}

interface Params extends NoisyClassifierEntry {
  diffusionCkptPath?: undefined;
  labelKey?: 'class_label';
}

/** What may stand as `model` where a classifier of noisy latents is trained. The run builds it: it needs a file. */
export const noisyClassifierTargets = new Targets<NoisyClassifierEntry, NoisyClassifierEntry>(
  'a classifier of noisy latents',
);

noisyClassifierTargets.register(
  ['ldm.models.diffusion.classifier.NoisyLatentImageClassifier', 'emulsion.NoisyClassifier'],
  {
    params: convert(
      mapping<Params>(
        {
          diffusion_path: text,
          num_classes: integer({ min: 2 }),
          pool: optional(oneOf('adaptive', 'attention', 'spatial', 'spatial_v2')),
          ckpt_path: optional(text),
          scheduler_config: optional(scheduleTargets.field),
          weight_decay: optional(number({ min: 0 })),
          monitor: optional(text),
          label_key: optional(oneOf('class_label')),
          diffusion_ckpt_path: unsupported('diffusion_path names a folder that holds the weights'),
        },
        ['log_steps'],
      ),
      ({ diffusionCkptPath: _, labelKey: __, ...entry }): NoisyClassifierEntry => entry,
    ),
    build: (entry) => entry,
  },
);
