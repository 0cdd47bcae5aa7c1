// The turns of autoencoder and discriminator, against the original's training written out by hand: one
// batch, two passes, two optimizers.
import { expect, test, vi } from 'vitest';
import {
  Adam,
  AutoencoderKL,
  firstStageTask,
  grad,
  keep,
  LPIPSWithDiscriminator,
  manualSeed,
  noise,
  openRunFolder,
  relu,
  Tensor,
  tidy,
  Trainer,
  VQLPIPSWithDiscriminator,
  VQModel,
  type DataSource,
  type ImageBatch,
  type Module,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { narrowLpips } from '../metrics/narrow_lpips.js';

const file = temporaryFolder();
const perceptual = await narrowLpips();
const steps = 3;
const learningRate = 1e-3;
const ddconfig = {
  ch: 8,
  outCh: 3,
  chMult: [1, 1],
  numResBlocks: 1,
  inChannels: 3,
  resolution: 16,
  zChannels: 2,
  normGroups: 4,
  attnType: 'none' as const, // a key's bias has a gradient of rounding errors, which Adam makes large
};
const weights = { perceptualWeight: 0.5, discWeight: 0.75, discFactor: 0.8 };
const lossConfig = { ...weights, discStart: 1, discNdf: 4, discNumLayers: 2 };
const klWeight = 1e-2;
const codebookWeight = 0.7;

const imagesOf = (step: number): Tensor => noise([2, 16, 16, 3], { seed: 7, step }).mul(0.5);

/** Model and loss, drawn from one seed, and what one pass of the model gives. */
interface Pair {
  model: Module<never> & Pick<AutoencoderKL, 'encoder' | 'decoder'>;
  loss: LPIPSWithDiscriminator | VQLPIPSWithDiscriminator;
  /** Reconstructions, and what the generator's loss has beside reconstruction and adversary. */
  pass(images: Tensor, noise?: Tensor): { back: Tensor; latentLoss: Tensor };
  /** The distances of all elements as one number. */
  reduce(elements: Tensor): Tensor;
}

function klPair(): Pair & { model: AutoencoderKL } {
  manualSeed(3);
  const model = new AutoencoderKL({ ddconfig, embedDim: 2 });
  const loss = new LPIPSWithDiscriminator({ ...lossConfig, klWeight }, { perceptual });
  return {
    model,
    loss,
    pass(images, draw) {
      const { reconstruction: back, posterior } = model.forward(images, draw);
      return { back, latentLoss: posterior.kl().sum().div(images.shape[0]).mul(klWeight) };
    },
    reduce: (elements) => elements.sum().div(elements.shape[0]),
  };
}

function vqPair(): Pair & { model: VQModel } {
  manualSeed(3);
  const model = new VQModel({ ddconfig: { ...ddconfig, doubleZ: false }, embedDim: 2, nEmbed: 16 });
  const config = { ...lossConfig, codebookWeight, nClasses: 16 };
  const loss = new VQLPIPSWithDiscriminator(config, { perceptual });
  return {
    model,
    loss,
    pass(images) {
      const { reconstruction: back, loss: codebookLoss } = model.forward(images);
      return { back, latentLoss: codebookLoss.mean().mul(codebookWeight) };
    },
    reduce: (elements) => elements.mean(),
  };
}

/** Trains as the original does; `draws` are the noises of the passes, in their order. */
function trainByHand({ model, loss, pass, reduce }: Pair, draws: readonly Tensor[]): void {
  const { discriminator } = loss;
  const options = { lr: learningRate, betas: [0.5, 0.9] as [number, number] };
  const [ofModel, ofDiscriminator] = [model, discriminator].map(
    (module) => new Adam(module.parameters(), options),
  );
  const lastLayer = model.decoder.conv_out.weight;
  const sizeOf = (term: Tensor) =>
    grad(term, [lastLayer], { retainGraph: true })[0].square().sum().sqrt();
  for (let step = 0; step < steps; step++) {
    const factor = step < lossConfig.discStart ? 0 : lossConfig.discFactor;
    tidy(() => {
      const images = imagesOf(step);
      const { back, latentLoss } = pass(images, draws[2 * step]);
      const distances = back.sub(images).abs();
      const elements = distances.add(
        perceptual.forward(images, back).mul(weights.perceptualWeight),
      );
      const reconstruction = reduce(elements);
      const adversary = discriminator.forward(back).mean().neg();
      const weight = sizeOf(reconstruction)
        .div(sizeOf(adversary).add(1e-4))
        .clamp(0, 1e4)
        .mul(weights.discWeight * factor);
      reconstruction.add(latentLoss).add(adversary.mul(weight.detach())).backward();
      ofModel.step();
      model.zeroGrad();
      discriminator.zeroGrad();
    });
    tidy(() => {
      const images = imagesOf(step);
      // The model has moved: its pass is a new one.
      const { back } = pass(images, draws[2 * step + 1]);
      const real = discriminator.forward(images);
      const fake = discriminator.forward(back.detach());
      const hinge = relu(real.neg().add(1))
        .mean()
        .add(relu(fake.add(1)).mean())
        .mul(0.5);
      hinge.mul(factor).backward();
      ofDiscriminator.step();
      discriminator.zeroGrad();
    });
  }
}

const data: DataSource<ImageBatch> = {
  batchesPerEpoch: steps,
  async *batches() {
    for (let step = 0; ; step++) yield { image: imagesOf(step), index: [], path: [] };
  },
  async *epoch() {},
};

test.each([
  ['KL', klPair],
  ['VQ', vqPair],
])('%s: the trainer takes the turns of the loop by hand', async (name, make) => {
  const trained = make();
  // The noises of all passes, beyond the steps that they were drawn in.
  const draws: Tensor[] = [];
  const forward = trained.model.forward.bind(trained.model) as (...args: unknown[]) => never;
  trained.model.forward = ((...args: unknown[]) => {
    draws.push(
      ...args
        .filter((x) => x instanceof Tensor)
        .slice(1)
        .map((x) => keep(x.alias())),
    );
    return forward(...args);
  }) as never;
  const encoded = vi.spyOn(trained.model.encoder, 'forward');
  const task = firstStageTask({ model: trained.model, loss: trained.loss, learningRate });
  const folder = await openRunFolder(file(name));
  const { skipped } = await new Trainer(task, data, {
    folder,
    steps,
    logEvery: 1,
    capture: false,
  }).run();
  expect(skipped).toBe(0);

  const expected = make();
  const before = valuesOf(expected);
  trainByHand(expected, draws);

  expect(encoded).toHaveBeenCalledTimes(2 * steps);
  const [found, wanted] = [valuesOf(trained), valuesOf(expected)];
  for (const [key, values] of wanted) {
    // Rounding alone: every step moves a weight by about the learning rate.
    expect(furthest(found.get(key)!, values), key).toBeLessThan(0.005 * learningRate);
    // Within the margin real and reconstructed patches push the last bias alike.
    if (key !== 'main.8.bias')
      expect(furthest(before.get(key)!, values), key).toBeGreaterThan(learningRate);
  }
});

/** Parameters and running statistics of both networks by name. */
function valuesOf({ model, loss }: Pair): Map<string, Float32Array> {
  const all = [...model.stateDict(), ...loss.discriminator.stateDict()];
  const floats = all.filter(([, x]) => x.dtype === 'float32');
  return new Map(floats.map(([key, x]) => [key, x.dataSync() as Float32Array]));
}

const furthest = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
