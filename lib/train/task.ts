// What is trained, as the trainer sees it: losses on batches, each with its optimizer. How a model and its
// losses become a task is for recipes to say; how a task is run is in trainer.ts.
import type { Json } from '../io/index.js';
import type { Module } from '../nn/index.js';
import type { Ema, LambdaLR, Optimizer } from '../optim/index.js';
import { replaceTensors, tensorsIn } from '../scope.js';
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

/**
 * A phase's loss in two parts. What is up to the host, such as drawing numbers and choosing what to drop, has
 * happened when this is made; the rest is a function of the tensors that came of it, so that the trainer may record
 * it once and replay it in all later steps, see {@link capture}. Whoever just reads `loss` and `log` has them
 * computed then.
 */
export class RecordableLoss<Given = unknown> implements PhaseLoss {
  /** Those in `given`, in their order. */
  readonly inputs: readonly Tensor[];
  /** The loss of other inputs. */
  readonly compute: (inputs: readonly Tensor[]) => PhaseLoss;
  #computed: PhaseLoss | null = null;

  /**
   * @param given tensors without history, alone or in arrays, maps and plain objects. All else in it is, in a replay,
   * what it was in the recorded step
   * @param body keeps the rules of `capture`. Where it breaks them, by drawing numbers for dropout for instance,
   * nothing is recorded
   * @param key tells apart losses that differ in more than tensors. Default `''`
   */
  constructor(
    given: Given,
    body: (given: Given) => PhaseLoss,
    readonly key = '',
  ) {
    this.inputs = [...tensorsIn(given)];
    this.compute = (inputs) => {
      let next = 0;
      return body(replaceTensors(given, () => inputs[next++]));
    };
  }

  get loss(): Tensor {
    return (this.#computed ??= this.compute(this.inputs)).loss;
  }

  get log(): Readonly<Record<string, Tensor>> {
    return (this.#computed ??= this.compute(this.inputs)).log;
  }
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
  /**
   * The trainer weighs the loss by the batch's share of its cycle, runs backward, clips and steps. A
   * {@link RecordableLoss} spares most steps their JavaScript.
   */
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
