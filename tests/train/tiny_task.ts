// A training with every part that must survive, so small that a step takes about a millisecond: a KL
// autoencoder with dropout, an adversary with a batch norm, a moving average, a schedule.
import {
  Adam,
  AdamW,
  BatchNorm2d,
  Conv2d,
  DiagonalGaussian,
  Dropout,
  Ema,
  LambdaLR,
  LeakyReLU,
  Module,
  Sequential,
  buffer,
  full,
  manualSeed,
  noise,
  randn,
  relu,
  tensor,
  type Json,
  type Tensor,
  type TrainingTask,
} from '../../lib/index.js';
import { NumberedBatches } from './numbered_batches.js';

const side = 4;
const channels = 4;
const conv = (from: number, to: number): Conv2d =>
  new Conv2d(from, to, { kernelSize: 3, padding: 1 });

class TinyAutoencoder extends Module<[Tensor, Tensor], [Tensor, Tensor]> {
  encoder = conv(3, 2 * channels);
  dropout = new Dropout(0.1);
  decoder = conv(channels, 3);
  /** Measured before the first step. */
  scale = buffer(tensor([1]));

  forward(x: Tensor, eps: Tensor): [reconstruction: Tensor, kl: Tensor] {
    const posterior = new DiagonalGaussian(this.encoder.forward(x.mul(this.scale)));
    const z = this.dropout.forward(posterior.sample(eps));
    return [this.decoder.forward(z), posterior.kl().mean()];
  }
}

class TinyAdversary extends Module<[Tensor], Tensor> {
  main = new Sequential(conv(3, 4), new BatchNorm2d(4), new LeakyReLU(0.2), conv(4, 1));

  forward(x: Tensor): Tensor {
    return this.main.forward(x);
  }
}

export interface TinyBatch {
  image: Tensor;
  number: number;
}

/** Batch k has `sizes[k % sizes.length]` images of noise that depends on k alone. */
export class TinyData extends NumberedBatches<TinyBatch> {
  /** @param bad numbers of batches that are full of NaN */
  constructor(
    private readonly sizes: readonly number[] = [2],
    private readonly bad: readonly number[] = [],
  ) {
    super(sizes.length);
  }

  protected override batch(number: number): TinyBatch {
    const size = this.sizes[number % this.sizes.length];
    const shape = [size, side, side, 3];
    const image = this.bad.includes(number)
      ? full(shape, NaN)
      : noise(shape, { seed: 5, step: number });
    return { image, number };
  }
}

export interface TinyTask extends TrainingTask<TinyBatch> {
  modules: { model: TinyAutoencoder; adversary: TinyAdversary };
  ema: { module: string; ema: Ema };
  /** Calls of `beforeFirstStep`. */
  prepared: number;
  dispose(): void;
}

/** The same weights every time. */
export function tinyTask(config: Json = {}): TinyTask {
  manualSeed(1);
  const model = new TinyAutoencoder();
  const adversary = new TinyAdversary();
  const generator = new Adam(model.parameters(), { lr: 1e-2, betas: [0.5, 0.9] });
  const discriminator = new AdamW(adversary.parameters(), { lr: 1e-2 });
  const ema = new Ema(model.namedParameters(), { decay: 0.99 });
  const reconstruct = (image: Tensor, seed: number, step: number, micro: number): Tensor[] =>
    model.forward(
      image,
      noise([image.shape[0], side, side, channels], { seed, stream: 1 + micro, step }),
    );
  const warmup = (n: number): number => Math.min(1, (n + 1) / 8);
  return {
    name: 'tiny',
    config,
    modules: { model, adversary },
    ema: { module: 'model', ema },
    prepared: 0,
    phases: [
      {
        name: 'generator',
        optimizer: generator,
        parameters: model.parameters(),
        schedule: new LambdaLR(generator, warmup),
        loss({ image }, { step, micro, seed }) {
          const [reconstruction, kl] = reconstruct(image, seed, step, micro);
          const error = reconstruction.sub(image).abs().mean();
          const fooling = adversary.forward(reconstruction).mean().neg();
          const loss = error.add(kl.mul(1e-3)).add(fooling.mul(0.1));
          return { loss, log: { rec_loss: error, kl_loss: kl, g_loss: fooling } };
        },
      },
      {
        name: 'discriminator',
        optimizer: discriminator,
        parameters: adversary.parameters(),
        loss({ image }, { step, micro, seed }) {
          const [reconstruction] = reconstruct(image, seed, step, micro);
          const real = adversary.forward(image);
          const fake = adversary.forward(reconstruction.detach());
          const loss = relu(real.neg().add(1))
            .mean()
            .add(relu(fake.add(1)).mean())
            .mul(0.5);
          return { loss, log: { logits_real: real.mean(), logits_fake: fake.mean() } };
        },
      },
    ],
    async beforeFirstStep({ image }) {
      this.prepared++;
      const scale = 1 / (await image.square().mean().sqrt().item());
      model.loadStateDict({ scale: tensor([scale]) }, { strict: false });
    },
    async validate(data) {
      let [sum, count] = [0, 0];
      for await (const { image } of data) {
        const [reconstruction] = model.forward(
          image,
          randn([image.shape[0], side, side, channels]),
        );
        sum += await reconstruction.sub(image).abs().sum().item();
        count += image.numel;
      }
      return { rec_loss: sum / count };
    },
    async pictures({ image }, { seed, step }) {
      const [reconstruction] = reconstruct(image, seed, step, 0);
      return { inputs: image.select(0, 0), reconstructions: reconstruction.select(0, 0) };
    },
    dispose() {
      for (const each of [generator, discriminator, ema, model, adversary]) each.dispose();
    },
  };
}
