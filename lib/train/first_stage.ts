// The training of a first stage: autoencoder and discriminator in turns (paper, section 3.1 and appendix G).
import { noGrad } from '../autograd/index.js';
import type { ImageBatch } from '../data/index.js';
import { uniforms } from '../data/philox.js';
import { ArgumentError, check } from '../errors.js';
import { makeGrid, type Json } from '../io/index.js';
import {
  AutoencoderKL,
  CodeUsage,
  LossHealth,
  LPIPSWithDiscriminator,
  VQLPIPSWithDiscriminator,
  VQModel,
  type FirstStage,
  type LossTerms,
} from '../ldm/index.js';
import { psnr, ssim, type Lpips } from '../metrics/index.js';
import { smallestPicture } from '../metrics/ssim.js';
import type { Module } from '../nn/index.js';
import { autocast } from '../ops/autocast.js';
import { clamp, concat, detach, mean, resize, std } from '../ops/index.js';
import { Adam, Ema, LambdaLR, type EmaOptions, type Schedule } from '../optim/index.js';
import { noise, type NoiseOptions } from '../random.js';
import type { Tensor } from '../tensor.js';
import {
  RecordableLoss,
  type Phase,
  type PhaseLoss,
  type StepContext,
  type TrainingTask,
} from './task.js';
import { validationMeans } from './validation_means.js';

export interface FirstStageTaskOptions {
  /** AutoencoderKL or VQModel. */
  model: FirstStage;
  /** The loss that belongs to it, with its discriminator. */
  loss: LPIPSWithDiscriminator | VQLPIPSWithDiscriminator;
  learningRate: number;
  /** The autoencoder's learning rate over the discriminator's. Default 1. */
  lrGFactor?: number;
  /** Multiplies both learning rates, step by step. */
  schedule?: Schedule;
  /** Keeps a moving average of the model's weights. Default: none. */
  ema?: EmaOptions;
  /**
   * Smallest and largest side of the images: each batch is resized to a side drawn from smallest,
   * smallest + 16, ..., largest; the first five to the largest. Default: images stay as they come.
   */
  batchResizeRange?: readonly [number, number];
  /** Images shown in a grid. Default 4. */
  maxImages?: number;
  /** Batches without use after which a code counts as dead. Default 100. */
  usageWindow?: number;
  /** What the weights belong to; a saved state of another configuration is refused. */
  config?: Json;
}

// The sequences of random numbers, apart from those of data and codebooks.
const streams = {
  autoencoder: 0x6673_0001,
  discriminator: 0x6673_0002,
  validation: 0x6673_0003,
  samples: 0x6673_0004,
  side: 0x6673_0005,
};

type PhaseName = 'autoencoder' | 'discriminator';

/** A batch encoded and decoded. */
interface Pass {
  inputs: Tensor;
  reconstructions: Tensor;
  /** what a diffusion model would be trained on */
  latents: Tensor;
  /** the chosen codes of a VQ model */
  indices?: Tensor;
  generatorLoss(globalStep: number): LossTerms;
}

/** A phase's images, and the noise of a KL model's posterior, which other models do without. */
interface Drawn {
  images: Tensor;
  epsilon: Tensor;
}

/** Encodes and decodes images; the noise is a KL model's, the step a codebook's. */
type Network = (images: Tensor, noise: Tensor | NoiseOptions, context: StepContext) => Pass;

/**
 * Makes the task that trains a first stage as the original does: in every cycle the autoencoder's turn, then
 * the discriminator's on the same batch, each with a forward pass and an Adam (betas 0.5, 0.9) of its own.
 * With `discFactor` 0 the discriminator has no turn.
 * `logvar` is in neither.
 *
 * @throws ArgumentError when the loss is not the model's
 */
export function firstStageTask(options: FirstStageTaskOptions): TrainingTask<ImageBatch> {
  return new FirstStageTask(options);
}

class FirstStageTask implements TrainingTask<ImageBatch> {
  readonly name = 'first stage';
  readonly config?: Json;
  readonly modules: Readonly<Record<string, Module>>;
  readonly phases: readonly Phase<ImageBatch>[];
  readonly ema?: { module: string; ema: Ema };
  private readonly network: Network;
  private readonly usage?: CodeUsage;
  private health?: LossHealth;

  constructor(private readonly options: FirstStageTaskOptions) {
    const { model, loss, learningRate, lrGFactor = 1, schedule, ema, usageWindow } = options;
    check(learningRate > 0 && lrGFactor > 0, () => {
      return `firstStageTask: learningRate and lrGFactor must be above 0, got ${learningRate} and ${lrGFactor}`;
    });
    this.config = options.config;
    this.network = networkOf(model, loss);
    if (model instanceof VQModel)
      this.usage = new CodeUsage(model.quantize.indexCount, usageWindow);
    this.modules = { model, loss, ...(this.usage && { usage: this.usage }) };
    if (ema) this.ema = { module: 'model', ema: new Ema(model.namedParameters(), ema) };
    const phase = (name: PhaseName, module: Module, lr: number): Phase<ImageBatch> => {
      const parameters = module.parameters();
      const optimizer = new Adam(parameters, { lr, betas: [0.5, 0.9] });
      const scheduled = schedule && { schedule: new LambdaLR(optimizer, schedule) };
      const compute: Phase<ImageBatch>['loss'] = (batch, at) => this.loss(name, batch, at);
      return { name, optimizer, parameters, ...scheduled, loss: compute };
    };
    const autoencoder = phase('autoencoder', model, learningRate * lrGFactor);
    // Whose loss is weighed with 0 learns nothing.
    if (loss.config.discFactor === 0) {
      this.phases = [autoencoder];
      return;
    }
    this.phases = [autoencoder, phase('discriminator', loss.discriminator, learningRate)];
  }

  /** ActNorm sets parameters, which a step that is left out would not take back with its buffers. */
  async beforeFirstStep({ image }: ImageBatch, context: StepContext): Promise<void> {
    const { config, discriminator } = this.options.loss;
    if (!config.useActnorm) return;
    const { images, epsilon } = this.draw('autoencoder', image, context);
    discriminator.forward(this.network(images, epsilon, context).reconstructions);
  }

  validate(data: AsyncIterable<ImageBatch>, context: StepContext): Promise<Record<string, number>> {
    return validationMeans(data, ({ image }, step) => ({
      samples: image.shape[0],
      log: this.validationTerms(image, step, context),
    }));
  }

  async pictures({ image }: ImageBatch, context: StepContext): Promise<Record<string, Tensor>> {
    const { model, maxImages = 4 } = this.options;
    const inputs = image.slice([[0, Math.min(maxImages, image.shape[0])]]);
    const [nrow] = inputs.shape;
    const at = { seed: context.seed, step: context.step };
    const pass = this.network(inputs, { ...at, stream: streams.validation }, context);
    const pairs = concat([inputs, pass.reconstructions], 0); // [2 N, H, W, C]
    const pictures: Record<string, Tensor> = {
      reconstructions: await makeGrid(clamp(pairs, -1, 1), { nrow }),
    };
    if (model instanceof AutoencoderKL) {
      const latents = noise(pass.latents.shape, {
        ...at,
        step: 0, // the same latents every time: what changes is the decoder
        stream: streams.samples,
        device: inputs.device,
      });
      const samples = clamp(model.decodeLatents(latents), -1, 1);
      pictures.samples = await makeGrid(samples, { nrow });
    }
    return pictures;
  }

  warnings(log: Readonly<Record<string, number>>): string[] {
    return this.health?.observe(log) ?? [];
  }

  private loss(phase: PhaseName, { image }: ImageBatch, context: StepContext): PhaseLoss {
    const { model, loss } = this.options;
    const drawn = this.draw(phase, image, context);
    const compute = ({ images, epsilon }: Drawn): LossTerms =>
      phase === 'autoencoder'
        ? this.autoencoderLoss(this.network(images, epsilon, context), context)
        : this.discriminatorLoss({ images, epsilon }, context);
    // Which codes begin anew is for the step to say.
    if (model instanceof VQModel && model.quantize.code_uses) return compute(drawn);
    return new RecordableLoss(drawn, compute, `${loss.discriminatorFactor(context.step)}`);
  }

  private autoencoderLoss(pass: Pass, context: StepContext): LossTerms {
    const { loss, log } = pass.generatorLoss(context.step);
    this.health ??= new LossHealth({
      config: { ...this.options.loss.config, ...(this.usage && { nClasses: this.usage.codes }) },
      vectorsPerBatch: pass.latents.numel / this.options.model.latentChannels,
    });
    const latents = detach(pass.latents);
    const statistics = { latent_mean: mean(latents), latent_std: std(latents) };
    return { loss, log: { ...log, ...statistics, ...this.counted(pass.indices) } };
  }

  /** Counts the codes of a batch; those used and those dead since the training began. */
  private counted(indices: Tensor | undefined): Record<string, Tensor> {
    if (!this.usage || !indices) return {};
    this.usage.forward(indices);
    const { used, dead } = this.usage.totals();
    return { codes_used: used, codes_dead: dead };
  }

  private discriminatorLoss({ images, epsilon }: Drawn, context: StepContext): LossTerms {
    // Nothing of the autoencoder is trained here, so it needs no history.
    const { inputs, reconstructions } = noGrad(() => this.network(images, epsilon, context));
    return this.options.loss.discriminatorLoss({
      inputs,
      reconstructions,
      globalStep: context.step,
    });
  }

  private draw(phase: PhaseName, image: Tensor, context: StepContext): Drawn {
    const { seed, step, micro, accumulate } = context;
    const { latentChannels, downsampling } = this.options.model;
    const images = this.resized(image, context);
    const [N, ...sides] = images.shape.slice(0, 3);
    const [h, w] = sides.map((side) => Math.floor(side / downsampling));
    const key = { seed, stream: streams[phase], step: step * accumulate + micro };
    const { device } = images;
    return { images, epsilon: noise([N, h, w, latentChannels], { ...key, device }) };
  }

  private validationTerms(
    image: Tensor,
    batch: number,
    context: StepContext,
  ): Record<string, Tensor> {
    const key = { seed: context.seed, stream: streams.validation, step: batch };
    const pass = this.network(image, key, context);
    const { inputs, reconstructions } = pass;
    const { loss } = this.options;
    const globalStep = context.step;
    return {
      ...pass.generatorLoss(globalStep).log,
      ...loss.discriminatorLoss({ inputs, reconstructions, globalStep }).log,
      ...qualityOf(inputs, clamp(reconstructions, -1, 1), loss.perceptual_loss),
    };
  }

  // Both phases of a cycle see one batch, so they see it at one size.
  private resized(image: Tensor, { seed, step, micro, accumulate }: StepContext): Tensor {
    const range = this.options.batchResizeRange;
    if (!range) return image;
    const [smallest, largest] = range;
    // The largest comes first, so that too little memory shows at once.
    let side = largest;
    if (step > 4) {
      const [share] = uniforms(seed, streams.side, step * accumulate + micro, 0);
      const choices = Math.ceil((largest - smallest) / 16) + 1;
      side = smallest + 16 * Math.floor(share * choices);
    }
    return image.shape[1] === side ? image : resize(image, { size: [side, side], mode: 'bicubic' });
  }
}

function networkOf(model: FirstStage, loss: FirstStageTaskOptions['loss']): Network {
  const lastLayer = () => (model as AutoencoderKL | VQModel).decoder.conv_out.weight;
  if (model instanceof AutoencoderKL && loss instanceof LPIPSWithDiscriminator)
    return (inputs, noise) => {
      const { reconstruction: reconstructions, posterior, latents } = model.forward(inputs, noise);
      const images = { inputs, reconstructions };
      return {
        ...images,
        latents,
        generatorLoss: (globalStep) =>
          loss.generatorLoss({ ...images, posterior, lastLayer: lastLayer(), globalStep }),
      };
    };
  if (model instanceof VQModel && loss instanceof VQLPIPSWithDiscriminator)
    return (inputs, _noise, step) => {
      const latents = model.encodeToPrequant(inputs);
      const quantized = model.quantize.forward(latents, step);
      const { loss: codebookLoss, indices } = quantized;
      const images = { inputs, reconstructions: model.decode(quantized.latents) };
      return {
        ...images,
        latents,
        indices,
        generatorLoss: (globalStep) =>
          loss.generatorLoss({
            ...images,
            codebookLoss,
            indices,
            lastLayer: lastLayer(),
            globalStep,
          }),
      };
    };
  throw new ArgumentError(
    'firstStageTask: an AutoencoderKL trains with LPIPSWithDiscriminator, a VQModel with ' +
      `VQLPIPSWithDiscriminator. Got a ${model.constructor.name} with a ${loss.constructor.name}.`,
  );
}

/** The metrics of pictures that can be taken of these; in float32 or better, whatever the training computes in. */
function qualityOf(
  inputs: Tensor,
  reconstructions: Tensor,
  lpips: Lpips | null,
): Record<string, Tensor> {
  const [, H, W] = inputs.shape;
  const shown = reconstructions.to(inputs.dtype);
  return {
    psnr: mean(psnr(inputs, shown)),
    ...(Math.min(H, W) >= smallestPicture.gaussian && { ssim: mean(ssim(inputs, shown)) }),
    ...(lpips && { lpips: autocast(false, () => mean(lpips.forward(inputs, shown))) }),
  };
}
