// The training of a second stage: the denoising network on the latents of a frozen first stage (paper, section 3.2).
import { tensor } from '../creation.js';
import type { ImageBatch } from '../data/index.js';
import { uniforms } from '../data/philox.js';
import { check } from '../errors.js';
import type { Json } from '../io/index.js';
import {
  type ConditionInput,
  type DiffusionBatch,
  type LatentDiffusion,
  type LossDraws,
  type PatchOptions,
} from '../ldm/index.js';
import type { Module } from '../nn/index.js';
import { AdamW, Ema, LambdaLR, type EmaOptions, type Schedule } from '../optim/index.js';
import { noise, type NoiseOptions } from '../random.js';
import type { Tensor } from '../tensor.js';
import { diffusionPictures, type DiffusionPictureOptions } from './diffusion_pictures.js';
import { drawEncoding } from './encoding_noise.js';
import {
  RecordableLoss,
  type Phase,
  type PhaseLoss,
  type StepContext,
  type TrainingTask,
} from './task.js';
import { drawTimesteps } from './timesteps.js';
import { validationMeans } from './validation_means.js';

export interface LatentDiffusionTaskOptions<Batch> {
  model: LatentDiffusion;
  learningRate: number;
  /** Multiplies the learning rate, step by step. */
  schedule?: Schedule;
  /** The moving average of the network's weights; null keeps none. Default: the original's, with a warm-up. */
  ema?: EmaOptions | null;
  /** Whether a model with `scaleByStd` measures its scale on the first batch. Default true: it was not trained before. */
  measureScale?: boolean;
  /** The share of samples that lose their condition, so that guidance has something to lead away from. Default 0. */
  unconditionalProbability?: number;
  /**
   * Adds noise that is the same in all pixels of a channel, of this deviation, so that pictures may become
   * darker or brighter as a whole. Default 0.
   */
  offsetNoise?: number;
  /** For latents larger than the network is to see at once: how they are cut. Default: it sees them whole. */
  patches?: PatchOptions;
  /** What of a batch the model takes. Default: images, and their labels for a conditioner of classes or their conditions for any other. */
  read?: (batch: Batch) => DiffusionBatch;
  pictures?: DiffusionPictureOptions;
  /** What the weights belong to; a saved state of another configuration is refused. Default: the model's spec. */
  config?: Json;
}

// The sequences of random numbers, apart from those of data, samplers and first stages.
const streams = {
  timesteps: 0x6c64_0010,
  noise: 0x6c64_0011,
  encoding: 0x6c64_0012,
  dropping: 0x6c64_0013,
  offset: 0x6c64_0014,
  conditioning: 0x6c64_0015,
};
// Added to them: what is looked at does not repeat what was trained on.
const validating = 0x100;

/**
 * Makes the task that trains a diffusion model as the original does: AdamW (betas 0.9 and 0.999, weight decay
 * 0.01) on the network, the conditioner if it is trainable and logvar if it is learned; timesteps drawn
 * uniformly; a moving average of the network alone. A model with `scaleByStd` measures its scale on the
 * first batch, unless told that it has one.
 *
 * @throws ArgumentError for options that are impossible
 */
export function latentDiffusionTask<Batch = ImageBatch>(
  options: LatentDiffusionTaskOptions<Batch>,
): TrainingTask<Batch> {
  return new LatentDiffusionTask(options);
}

class LatentDiffusionTask<Batch> implements TrainingTask<Batch> {
  readonly name = 'latent diffusion';
  readonly config: Json;
  readonly modules: Readonly<Record<string, Module>>;
  readonly phases: readonly Phase<Batch>[];
  readonly ema?: { module: string; ema: Ema };
  private readonly read: (batch: Batch) => DiffusionBatch;

  constructor(private readonly options: LatentDiffusionTaskOptions<Batch>) {
    const { model, learningRate, schedule, ema = {} } = options;
    const { unconditionalProbability = 0, offsetNoise = 0 } = options;
    check(learningRate > 0, () => {
      return `latentDiffusionTask: learningRate must be above 0, got ${learningRate}`;
    });
    check(
      unconditionalProbability >= 0 && unconditionalProbability <= 1 && offsetNoise >= 0,
      () => {
        return (
          'latentDiffusionTask: unconditionalProbability must lie in [0, 1] and offsetNoise be at least 0, got ' +
          `${unconditionalProbability} and ${offsetNoise}`
        );
      },
    );
    this.read = options.read ?? defaultReader(model);
    this.config = options.config ?? (JSON.parse(JSON.stringify(model.spec)) as Json);
    this.modules = { model };
    if (ema) this.ema = { module: 'model', ema: new Ema(model.model.namedParameters(), ema) };
    const parameters = model.trainedParameters();
    const optimizer = new AdamW(parameters, { lr: learningRate });
    this.phases = [
      {
        name: 'diffusion',
        optimizer,
        parameters,
        ...(schedule && { schedule: new LambdaLR(optimizer, schedule) }),
        loss: (batch, context) => this.loss(batch, context),
      },
    ];
  }

  async beforeFirstStep(batch: Batch): Promise<void> {
    const { model, measureScale = true } = this.options;
    if (!model.spec.scaleByStd || !measureScale) return;
    await model.measureScale(this.read(batch), { seed: 0, stream: streams.encoding });
  }

  validate(data: AsyncIterable<Batch>, { seed }: StepContext): Promise<Record<string, number>> {
    return validationMeans(data, (batch, step) => {
      const given = this.read(batch);
      const draws = this.draw(given, { seed, step, stream: validating });
      const { log } = this.options.model.loss(given, draws, this.options.patches);
      return { samples: draws.t.shape[0], log };
    });
  }

  pictures(batch: Batch, { seed }: StepContext): Promise<Record<string, Tensor>> {
    const { model, patches, pictures = {} } = this.options;
    // The same noise every time: what changes is the network.
    return diffusionPictures(model, this.read(batch), { ...pictures, seed, patches });
  }

  warnings({ latent_std: deviation }: Readonly<Record<string, number>>): string[] {
    if (!(deviation < 0.5 || deviation > 2)) return [];
    const { scaleByStd } = this.options.model.spec;
    return [
      `The scaled latents' standard deviation is ${Number(deviation.toPrecision(3))}, far from 1: the noise ` +
        'schedule is made for 1, and details or composition suffer. ' +
        (scaleByStd
          ? 'The scale was measured on the first batch; the data or the first stage must have changed since.'
          : 'Set scale_by_std, or a scale_factor of 1 over the deviation of unscaled latents.'),
    ];
  }

  private loss(batch: Batch, { seed, step, micro, accumulate }: StepContext): PhaseLoss {
    const given = this.read(batch);
    const key = { seed, step: step * accumulate + micro, stream: 0 };
    const draws = this.draw(given, key);
    const dropped = this.dropped(draws.t, key);
    const { model, patches } = this.options;
    const { batch: drawn, encoding } = drawEncoding(model, given, draws.encoding);
    return new RecordableLoss({ batch: drawn, draws: { ...draws, encoding, dropped } }, (all) =>
      model.loss(all.batch, all.draws, patches),
    );
  }

  // Everything random in a loss but for what is dropped, as a function of the key alone.
  private draw(
    batch: DiffusionBatch,
    { seed, step, stream }: { seed: number; step: number; stream: number },
  ): LossDraws & { encoding: NoiseOptions } {
    const { model, offsetNoise = 0 } = this.options;
    const key = (name: keyof typeof streams) => ({ seed, step, stream: streams[name] + stream });
    const [N, h, w, C] = model.latentShape(batch);
    const { device } = model.betas;
    const { timesteps } = model.diffusion.schedule;
    const plain = noise([N, h, w, C], { ...key('noise'), device });
    const offset = () => noise([N, 1, 1, C], { ...key('offset'), device }).mul(offsetNoise);
    return {
      t: drawTimesteps(N, timesteps, key('timesteps'), device),
      noise: offsetNoise === 0 ? plain : plain.add(offset()),
      encoding: { ...key('encoding'), device },
      conditioning: { ...key('conditioning'), device },
    };
  }

  private dropped(t: Tensor, { seed, step }: { seed: number; step: number }): Tensor | undefined {
    const { unconditionalProbability = 0 } = this.options;
    if (unconditionalProbability === 0) return undefined;
    const chosen = Array.from({ length: t.shape[0] }, (_, i) => {
      const [share] = uniforms(seed, streams.dropping, step, i);
      return share < unconditionalProbability;
    });
    return tensor(chosen, { dtype: 'bool', device: t.device });
  }
}

function defaultReader<Batch>(model: LatentDiffusion): (batch: Batch) => DiffusionBatch {
  const { kind } = model.conditioner;
  const takesClasses = kind === 'class' || model.spec.conditioningKey === 'adm';
  return (batch) => {
    const { image, label, condition } = batch as unknown as ImageBatch;
    if (kind === 'none') return { images: image };
    if (condition) return { images: image, condition: condition as ConditionInput };
    check(takesClasses, () => {
      return (
        `latentDiffusionTask: the model has a conditioner of kind ${kind}, and batches hold no conditions: give ` +
        'the loader a source of conditions, or read.'
      );
    });
    check(label, () => {
      return 'latentDiffusionTask: the model is conditioned on classes, and the pictures have no labels.';
    });
    return { images: image, condition: classIds(label, image) };
  };
}

/** Class ids [N] beside a batch, on its device. */
function classIds(labels: readonly number[], { device }: Tensor): Tensor {
  return tensor(BigInt64Array.from(labels, BigInt), { device });
}
