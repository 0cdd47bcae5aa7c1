// What is trained, as the trainer sees it: losses on batches, each with its optimizer. How a model and its
// losses become a task is for recipes to say; how a task is run is in trainer.ts.
import type { Json } from '../io/index.js';
import type { Module } from '../nn/index.js';
import type { Ema, LambdaLR, Optimizer } from '../optim/index.js';
import type { Tensor } from '../tensor.js';

/** Where in the training a loss is computed. Random numbers are functions of these. */
export interface StepContext {
  /** Finished optimizer cycles, the original's `global_step`: from 0. */
  readonly step: number;
  /** Number of the batch within its cycle: from 0 to accumulate - 1. */
  readonly micro: number;
  /** Batches in a cycle. */
  readonly accumulate: number;
  readonly seed: number;
}

/** A phase's loss on one batch. */
export interface PhaseLoss {
  /** One number, the mean over the batch's images. */
  readonly loss: Tensor;
  /** Numbers to report, one element each, by name. */
  readonly log: Readonly<Record<string, Tensor>>;
}

/** Any optimizer. */
export type AnyOptimizer = Optimizer<{ lr: number }>;

/** One optimizer's turn. The phases of a task see the same batch one after the other. */
export interface Phase<Batch> {
  readonly name: string;
  readonly optimizer: AnyOptimizer;
  /** What the optimizer trains. All other parameters have `requiresGrad` off during the phase. */
  readonly parameters: readonly Tensor[];
  /** Stepped once in every cycle. */
  readonly schedule?: LambdaLR;
  /** The trainer weighs the loss by the batch's share of its cycle, runs backward, clips and steps. */
  loss(batch: Batch, context: StepContext): PhaseLoss;
}

/** A model, its losses and their optimizers. */
export interface TrainingTask<Batch> {
  readonly name: string;
  /** What the weights belong to, as plain data: a saved state of another configuration is refused. */
  readonly config?: Json;
  /** All that has weights or buffers to save, such as `{ model, loss }`. */
  readonly modules: Readonly<Record<string, Module>>;
  /** In the order in which they run. No parameter is in two of them. */
  readonly phases: readonly Phase<Batch>[];
  /** A moving average over (a part of) one of the modules, updated after every batch. */
  readonly ema?: { readonly module: string; readonly ema: Ema };
  /** Images in a batch. Default: the first axis of the first tensor in it. */
  size?(batch: Batch): number;
  /** Once, before the first step of a new training, without gradients: latents' scale, ActNorm. */
  beforeFirstStep?(batch: Batch, context: StepContext): Promise<void>;
  /**
   * Numbers of a validation, by name. Modules are in eval mode, gradients off. The batches end with the call;
   * a second call sees the moving average as the weights.
   */
  validate?(data: AsyncIterable<Batch>, context: StepContext): Promise<Record<string, number>>;
  /** Pictures [H, W, 3] in [-1, 1] by name. Modules are in eval mode, gradients off, averaged weights if any. */
  pictures?(batch: Batch, context: StepContext): Promise<Record<string, Tensor>>;
  /** Known failures that the reported numbers show, in plain words. */
  warnings?(log: Readonly<Record<string, number>>, context: StepContext): string[];
  /** Whatever else must be saved. */
  state?(): Json;
  loadState?(state: Json): void;
}
