// The training of a classifier that guides sampling: it learns the classes of latents at every level of noise, on the
// first stage and the noise schedule of a diffusion model, which stays as it is (paper, appendix C).
import { tensor } from '../creation.js';
import type { ImageBatch } from '../data/index.js';
import { check } from '../errors.js';
import type { Json } from '../io/index.js';
import {
  noisyClassifierLoss,
  type ClassifierLoss,
  type DiffusionBatch,
  type EncoderUNetModel,
  type LatentDiffusion,
} from '../ldm/index.js';
import type { Module } from '../nn/index.js';
import { AdamW, LambdaLR, type Schedule } from '../optim/index.js';
import { noise } from '../random.js';
import type { Tensor } from '../tensor.js';
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

/** Pictures, or what the first stage made of them, and their classes. */
export interface ClassifiedBatch extends Pick<DiffusionBatch, 'images' | 'encoded'> {
  classes: readonly number[];
}

export interface NoisyClassifierTaskOptions<Batch> {
  /** Its first stage, scale and noise schedule are what the classifier learns on. Nothing of it is trained. */
  model: LatentDiffusion;
  /** See `noisyClassifierConfig` for the original's. */
  classifier: EncoderUNetModel;
  learningRate: number;
  /** Default 0.01. */
  weightDecay?: number;
  /** Multiplies the learning rate, step by step. */
  schedule?: Schedule;
  /** Timesteps between those at which validations measure the accuracy. Default 100. */
  logEveryT?: number;
  /** What of a batch it takes. Default: images and their labels. */
  read?: (batch: Batch) => ClassifiedBatch;
  /** What the weights belong to; a saved state of another configuration is refused. Default: the classifier's config. */
  config?: Json;
}

/** What a loss is computed of. */
interface Drawn {
  batch: Pick<DiffusionBatch, 'images' | 'encoded'>;
  /** of a KL model's posterior */
  encoding: Tensor;
  labels: Tensor;
  t: Tensor;
  noise: Tensor;
}

// Apart from those of data, samplers and the other stages.
const streams = { timesteps: 0x6c64_0020, noise: 0x6c64_0021, encoding: 0x6c64_0022 };
// Added to them: what is looked at does not repeat what was trained on.
const validating = 0x100;

/**
 * Makes the task that trains a classifier as the original's NoisyLatentImageClassifier does: cross-entropy at
 * timesteps drawn uniformly, AdamW with weight decay. It reports `acc@1` and `acc@5`; validations measure both at
 * single timesteps, too (`acc@1_t300`).
 *
 * @throws ArgumentError for options that are impossible
 */
export function noisyClassifierTask<Batch = ImageBatch>(
  options: NoisyClassifierTaskOptions<Batch>,
): TrainingTask<Batch> {
  return new NoisyClassifierTask(options);
}

class NoisyClassifierTask<Batch> implements TrainingTask<Batch> {
  readonly name = 'noisy classifier';
  readonly config: Json;
  readonly modules: Readonly<Record<string, Module>>;
  readonly phases: readonly Phase<Batch>[];
  private readonly read: (batch: Batch) => ClassifiedBatch;

  constructor(private readonly options: NoisyClassifierTaskOptions<Batch>) {
    const { model, classifier, learningRate, weightDecay = 0.01, schedule } = options;
    const { logEveryT = 100 } = options;
    check(learningRate > 0 && weightDecay >= 0, () => {
      return (
        'noisyClassifierTask: learningRate must be above 0 and weightDecay at least 0, got ' +
        `${learningRate} and ${weightDecay}`
      );
    });
    check(Number.isSafeInteger(logEveryT) && logEveryT >= 1, () => {
      return `noisyClassifierTask: logEveryT must be an integer of at least 1, got ${logEveryT}`;
    });
    const { inChannels } = classifier.config;
    const { outChannels } = model.spec.unet;
    check(inChannels === outChannels, () => {
      return `noisyClassifierTask: the classifier takes latents of ${inChannels} channels, the model's have ${outChannels}`;
    });
    this.read = options.read ?? readLabels;
    this.config = options.config ?? (JSON.parse(JSON.stringify(classifier.config)) as Json);
    this.modules = { classifier };
    const parameters = classifier.parameters();
    const optimizer = new AdamW(parameters, { lr: learningRate, weightDecay });
    this.phases = [
      {
        name: 'classifier',
        optimizer,
        parameters,
        ...(schedule && { schedule: new LambdaLR(optimizer, schedule) }),
        loss: (batch, context) => this.loss(batch, context),
      },
    ];
  }

  validate(data: AsyncIterable<Batch>, { seed }: StepContext): Promise<Record<string, number>> {
    const { model, logEveryT = 100 } = this.options;
    const { timesteps } = model.diffusion.schedule;
    const levels = Array.from(
      { length: Math.ceil(timesteps / logEveryT) },
      (_, i) => i * logEveryT,
    );
    return validationMeans(data, (batch, step) => {
      const given = this.read(batch);
      const key = { seed, step, stream: validating };
      const log: Record<string, Tensor> = { ...this.classify(this.draw(given, key)) };
      for (const t of levels) {
        const at = this.classify(this.draw(given, key, t));
        log[`acc@1_t${t}`] = at['acc@1'];
        log[`acc@5_t${t}`] = at['acc@5'];
      }
      return { samples: given.classes.length, log };
    });
  }

  private loss(batch: Batch, { seed, step, micro, accumulate }: StepContext): PhaseLoss {
    const key = { seed, step: step * accumulate + micro, stream: 0 };
    return new RecordableLoss(this.draw(this.read(batch), key), (drawn) => {
      const found = this.classify(drawn);
      return { loss: found.loss, log: { ...found } };
    });
  }

  private classify({ batch, encoding, ...rest }: Drawn): ClassifierLoss {
    const { model, classifier } = this.options;
    const latents = model.latentsOf(batch, encoding);
    return noisyClassifierLoss((x, time) => classifier.forward(x, time), model.diffusion, {
      latents,
      ...rest,
    });
  }

  /** @param at a single timestep; default: drawn for each sample */
  private draw(
    { images, encoded, classes }: ClassifiedBatch,
    { seed, step, stream }: { seed: number; step: number; stream: number },
    at?: number,
  ): Drawn {
    const { model } = this.options;
    const { device } = model.betas;
    const key = (name: keyof typeof streams) => ({ seed, step, stream: streams[name] + stream });
    const shape = model.latentShape({ images, encoded });
    const count = classes.length;
    check(shape[0] === count, () => {
      return `noisyClassifierTask: ${shape[0]} pictures need as many classes, got ${count}`;
    });
    const { timesteps } = model.diffusion.schedule;
    const t =
      at === undefined
        ? drawTimesteps(count, timesteps, key('timesteps'), device)
        : tensor(new BigInt64Array(count).fill(BigInt(at)), { device });
    return {
      ...drawEncoding(model, { images, encoded }, { ...key('encoding'), device }),
      labels: tensor(BigInt64Array.from(classes, BigInt), { device }),
      t,
      noise: noise(shape, { ...key('noise'), device }),
    };
  }
}

function readLabels<Batch>(batch: Batch): ClassifiedBatch {
  const { image, label } = batch as unknown as ImageBatch;
  check(
    label,
    () => 'noisyClassifierTask: the pictures have no labels: choose a data set that has.',
  );
  return { images: image, classes: label };
}
