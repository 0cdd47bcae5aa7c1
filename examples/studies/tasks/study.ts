// What the study of a task is: a claim made beforehand, trainings, a number that bears it out or does not, and
// pictures.
import type {
  DataSource,
  FirstStage,
  FirstStageSpec,
  ImageBatch,
  LatentDiffusion,
  LatentDiffusionSpec,
} from '../../../lib/index.js';
import type { EmojiSet } from '../../demo/emoji.js';

export interface TaskStudy {
  /** As in `npm run study:tasks -- --only layout`. */
  readonly name: string;
  readonly title: string;
  /** Said before anything is trained: how far the condition must beat the baseline. */
  readonly claim: Claim;
  run(context: StudyContext): Promise<TaskResult>;
}

export interface Claim {
  /** What is measured, on what the training has not seen. */
  readonly metric: string;
  /** The trivial or unconditional answer that it is compared with. */
  readonly baseline: string;
  /** In units of the metric. */
  readonly margin: number;
  readonly unit: string;
  readonly higherIsBetter: boolean;
}

export interface StudyContext {
  /** Of this task: what it writes lies here. */
  readonly folder: string;
  readonly emoji: EmojiSet;
  /** Nineteen drawings of twenty. */
  readonly training: EmojiSet;
  readonly heldOut: EmojiSet;
  readonly signal: AbortSignal;
  readonly seed: number;
  /** Multiplies the steps of trainings: 1 for the study, far less for a check that everything runs. */
  readonly scale: number;
  /**
   * The first stage that all tasks share: KL, f = 4, so latents of a drawing are [16, 16, spec.embedDim].
   * Without attention, so that it takes canvases of any size. Frozen.
   */
  firstStage(): Promise<SharedFirstStage>;
  /**
   * Trains with the library's task and trainer, or goes on where an interrupted study was.
   * @returns the model with its averaged weights, in eval mode
   */
  train(training: DiffusionTraining): Promise<TrainedDiffusion>;
  log(message: string): void;
}

export interface SharedFirstStage {
  readonly model: FirstStage;
  readonly spec: FirstStageSpec & { readonly kind: 'kl' };
}

export interface DiffusionTraining {
  /** Unique in the study. */
  readonly name: string;
  /** With `context.firstStage()`'s spec as first stage its weights are loaded; the identity needs none. */
  readonly spec: LatentDiffusionSpec;
  /** Disposed by whoever made it. */
  readonly data: DataSource<ImageBatch>;
  /** Before they are scaled. */
  readonly steps: number;
  readonly learningRate: number;
  readonly unconditionalProbability?: number;
  /** Changes weights of the fresh model, which is not trained yet. */
  readonly initialize?: (model: LatentDiffusion) => void;
}

export interface TrainedDiffusion {
  readonly model: LatentDiffusion;
  readonly record: TrainingRecord;
}

/** What the page shows of a training. */
export interface TrainingRecord {
  readonly name: string;
  readonly curve: readonly { readonly step: number; readonly loss: number }[];
  readonly seconds: number;
  readonly parameters: number;
  readonly images: number;
}

export interface TaskResult {
  /** Of the claim's metric. */
  readonly value: number;
  readonly baseline: number;
  readonly more: readonly Measured[];
  /** Files in the task's folder. */
  readonly pictures: readonly { readonly file: string; readonly caption: string }[];
  readonly trainings: readonly TrainingRecord[];
}

export interface Measured {
  readonly name: string;
  readonly value: number;
  readonly baseline?: number;
  readonly unit: string;
}
