// Both composite losses: gates, options, what they log, and errors. Their numbers are in the parity tests.
import { beforeAll, describe, expect, test } from 'vitest';
import type { Lpips } from '../../../lib/index.js';
import {
  Adam,
  autocast,
  Conv2d,
  DiagonalGaussian,
  Generator,
  klLossConfig,
  LPIPSWithDiscriminator,
  noGrad,
  ones,
  ShapeError,
  tensor,
  tidy,
  VQLPIPSWithDiscriminator,
  vqLossConfig,
  zeros,
  type KlLossConfig,
  type LossTerms,
  type Tensor,
  type VqLossConfig,
} from '../../../lib/index.js';
import { narrowLpips } from '../../metrics/narrow_lpips.js';

let perceptual: Lpips;
beforeAll(async () => {
  perceptual = await narrowLpips();
});

const small = { discStart: 10, discNdf: 4, discNumLayers: 2, discWeight: 0.5 };
const klLoss = (config: Partial<KlLossConfig> = {}) =>
  new LPIPSWithDiscriminator({ ...small, ...config }, { perceptual, generator: new Generator(3) });
const vqLoss = (config: Partial<VqLossConfig> = {}) =>
  new VQLPIPSWithDiscriminator(
    { ...small, ...config },
    { perceptual, generator: new Generator(3) },
  );

const numbers = (x: Tensor) => Array.from(x.dataSync(), Number);
const logged = ({ log }: LossTerms) =>
  Object.fromEntries(Object.entries(log).map(([name, value]) => [name, value.itemSync()]));

/** A decoder of one layer and all that a loss takes. */
function step(globalStep = 20) {
  const generator = new Generator(8);
  const decoder = new Conv2d(4, 3, { kernelSize: 3, padding: 1, generator });
  const reconstructions = decoder.forward(generator.normal([2, 16, 16, 4]));
  const moments = generator.normal([2, 4, 4, 6]);
  moments.requiresGrad = true;
  return {
    decoder,
    inputs: generator.normal([2, 16, 16, 3]),
    reconstructions,
    lastLayer: decoder.weight,
    globalStep,
    posterior: new DiagonalGaussian(moments),
    moments,
    codebookLoss: tensor(0.25),
    cond: undefined as Tensor | undefined,
  };
}

describe('disc_start', () => {
  test('keeps the discriminator out of both losses until its step', () => {
    const run = (globalStep: number) => {
      const loss = klLoss();
      const args = step(globalStep);
      const generator = loss.generatorLoss(args);
      const discriminator = loss.discriminatorLoss(args);
      const { total_loss, nll_loss, kl_loss, disc_factor, d_weight, g_loss } = logged(generator);
      const adversarial = total_loss - nll_loss - kl_loss;
      const { disc_loss, logits_real } = logged(discriminator);
      return { adversarial, disc_factor, d_weight, g_loss, disc_loss, logits_real };
    };
    const [before, after] = [run(9), run(10)];
    expect(before).toMatchObject({ disc_factor: 0, disc_loss: 0 });
    expect(before.adversarial).toBeCloseTo(0, 3);
    expect(after.disc_factor).toBe(1);
    expect(after.disc_loss).toBeGreaterThan(0.5);
    expect(after.adversarial).toBeCloseTo(after.d_weight * after.g_loss, 2);
    expect(Math.abs(after.adversarial)).toBeGreaterThan(0.01);
    expect(before.logits_real).toBe(after.logits_real);
    expect(before.d_weight).toBe(after.d_weight);
  });

  test('before it, a skipped discriminator changes neither loss nor gradients', () => {
    const run = (skipIdleDiscriminator: boolean) => {
      const loss = klLoss({ skipIdleDiscriminator });
      const args = step(0);
      const terms = loss.generatorLoss(args);
      terms.loss.backward();
      const [norm] = loss.discriminator.modules().filter((m) => 'num_batches_tracked' in m);
      return {
        loss: terms.loss.itemSync(),
        gradient: numbers(args.decoder.weight.grad!),
        batches: (
          norm as unknown as { num_batches_tracked: Tensor }
        ).num_batches_tracked.itemSync(),
        names: Object.keys(terms.log),
      };
    };
    const [plain, skipping] = [run(false), run(true)];
    expect(skipping.loss).toBe(plain.loss);
    expect(skipping.gradient).toEqual(plain.gradient);
    expect([plain.batches, skipping.batches]).toEqual([1, 0]);
    expect(skipping.names).toEqual(plain.names);
  });

  test('after it, nothing is skipped', () => {
    const run = (skipIdleDiscriminator: boolean) =>
      logged(klLoss({ skipIdleDiscriminator }).generatorLoss(step(10)));
    expect(run(true)).toEqual(run(false));
  });
});

describe('the generator’s loss', () => {
  test('logs the original’s names', () => {
    const kl = klLoss().generatorLoss(step());
    expect(Object.keys(kl.log)).toEqual([
      'total_loss',
      'logvar',
      'kl_loss',
      'nll_loss',
      'rec_loss',
      'd_weight',
      'disc_factor',
      'g_loss',
    ]);
    const indices = tensor([1, 2, 3, 1], { dtype: 'int64' });
    const vq = vqLoss({ nClasses: 8 }).generatorLoss({ ...step(), indices });
    expect(Object.keys(vq.log)).toEqual([
      'total_loss',
      'quant_loss',
      'nll_loss',
      'rec_loss',
      'p_loss',
      'd_weight',
      'disc_factor',
      'g_loss',
      'perplexity',
      'cluster_usage',
    ]);
    for (const [name, value] of [...Object.entries(kl.log), ...Object.entries(vq.log)]) {
      expect(value.shape, name).toEqual([]);
      expect(value.requiresGrad, name).toBe(false);
    }
  });

  test('sums over elements in the KL loss, averages in the VQ loss', () => {
    const args = step();
    const [kl, vq] = [klLoss(), vqLoss()].map((loss) => logged(loss.generatorLoss(args)));
    expect(kl.nll_loss / (16 * 16 * 3)).toBeCloseTo(vq.nll_loss, 4);
    expect(kl.rec_loss).toBeCloseTo(vq.rec_loss, 5);
  });

  test('counts the codes in use', () => {
    const indices = tensor([3, 3, 0, 7, 3, 0, 0, 7], { shape: [2, 2, 2], dtype: 'int64' });
    const terms = vqLoss({ nClasses: 16 }).generatorLoss({ ...step(), indices });
    const { perplexity, cluster_usage } = logged(terms);
    const entropy = -[3 / 8, 3 / 8, 2 / 8].reduce((total, p) => total + p * Math.log(p), 0);
    expect(perplexity).toBeCloseTo(Math.exp(entropy), 5);
    expect(cluster_usage).toBe(3);
  });

  test('weighs elements by weights in the total alone', () => {
    const loss = klLoss({ klWeight: 0, discFactor: 0 });
    const args = step();
    const plain = logged(loss.generatorLoss(args));
    const doubled = logged(loss.generatorLoss({ ...args, weights: ones([1, 1, 1, 1]).mul(2) }));
    expect(doubled.nll_loss).toBe(plain.nll_loss);
    expect(doubled.total_loss).toBeCloseTo(2 * plain.total_loss, 2);
  });

  test('scales by logvar, which starts where it is told', () => {
    const plain = logged(klLoss({ discFactor: 0 }).generatorLoss(step()));
    const scaled = logged(klLoss({ discFactor: 0, logvarInit: 0.5 }).generatorLoss(step()));
    const expected = plain.nll_loss * Math.exp(-0.5) + 0.5 * 16 * 16 * 3;
    expect(scaled.nll_loss / expected).toBeCloseTo(1, 5);
    expect(scaled.logvar).toBe(0.5);
  });

  test('has no adaptive weight without gradients', () => {
    const loss = vqLoss().eval();
    const args = noGrad(() => step());
    const terms = noGrad(() => loss.generatorLoss(args));
    expect(logged(terms).d_weight).toBe(0);
    expect(terms.loss.requiresGrad).toBe(false);
    const { total_loss, nll_loss, quant_loss } = logged(loss.generatorLoss(args));
    expect(total_loss).toBeCloseTo(nll_loss + quant_loss, 5);
  });

  test('of VQ models tells the adaptive weight of an adversary that is left out, of KL models none', () => {
    const args = step();
    const vq = (discFactor: number) => logged(vqLoss({ discFactor }).generatorLoss(args)).d_weight;
    expect(vq(1)).toBeGreaterThan(0);
    expect(vq(0)).toBe(vq(1));
    expect(logged(klLoss({ discFactor: 0 }).generatorLoss(step())).d_weight).toBe(0);
  });

  test('refuses shapes that would broadcast', () => {
    const wrong = { ...step(), inputs: zeros([1, 16, 16, 3]) };
    expect(() => klLoss().generatorLoss(wrong)).toThrow(ShapeError);
  });
});

describe('the discriminator’s loss', () => {
  test('sends gradients to the discriminator alone', () => {
    const loss = vqLoss();
    const args = step();
    loss.discriminatorLoss(args).loss.backward();
    expect(args.decoder.weight.grad).toBeNull();
    expect(loss.discriminator.parameters().every((p) => p.grad !== null)).toBe(true);
  });

  test('takes the vanilla form when asked to', () => {
    const even = (discLoss: 'hinge' | 'vanilla') => {
      const loss = vqLoss({ discLoss });
      // Without its last layer the discriminator only guesses.
      const zero = [...loss.discriminator.stateDict()].filter(([key]) => key.startsWith('main.8'));
      loss.discriminator.loadStateDict(new Map(zero.map(([key, x]) => [key, zeros(x.shape)])), {
        strict: false,
      });
      return loss.discriminatorLoss(step()).loss.itemSync();
    };
    expect(even('hinge')).toBeCloseTo(1, 6);
    expect(even('vanilla')).toBeCloseTo(Math.log(2), 6);
  });
});

describe('a condition', () => {
  const conditional = { discConditional: true, discInChannels: 5 };

  test('is what the discriminator sees beside the image, in both passes', () => {
    const loss = vqLoss(conditional);
    const run = (cond: Tensor) => {
      const args = { ...step(), cond };
      return [
        logged(loss.generatorLoss(args)).g_loss,
        logged(loss.discriminatorLoss(args)).logits_real,
      ];
    };
    const [first, second] = [0, 1].map((seed) => run(new Generator(seed).normal([2, 16, 16, 2])));
    expect(first[0]).not.toBe(second[0]);
    expect(first[1]).not.toBe(second[1]);
  });

  test('comes when it is expected, and only then', () => {
    expect(() => vqLoss(conditional).generatorLoss(step())).toThrow(/needs cond/);
    const cond = zeros([2, 16, 16, 2]);
    expect(() => klLoss().discriminatorLoss({ ...step(), cond })).toThrow(/set discConditional/);
    const few = vqLoss({ discConditional: true });
    expect(() => few.discriminatorLoss({ ...step(), cond })).toThrow(/takes 3 channels.*got 5/);
  });
});

describe('options', () => {
  test('come from the original’s lossconfig', () => {
    const kl = klLossConfig({
      disc_start: 50001,
      kl_weight: 1e-6,
      disc_weight: 0.5,
      logvar_init: 0.1,
      pixelloss_weight: 2,
    });
    expect(kl).toEqual({ discStart: 50001, klWeight: 1e-6, discWeight: 0.5, logvarInit: 0.1 });
    const vq = vqLossConfig({
      disc_conditional: false,
      disc_in_channels: 3,
      disc_start: 1,
      codebook_weight: 1,
      perceptual_loss: 'lpips',
      pixel_loss: 'l2',
      n_classes: 256,
      use_actnorm: true,
    });
    expect(vq).toMatchObject({ discStart: 1, pixelLoss: 'l2', nClasses: 256, useActnorm: true });
  });

  test('that make no sense are refused', () => {
    expect(() => klLossConfig({ disc_start: 1, pixel_loss: 'l2' })).toThrow(/unknown parameter/);
    expect(() => vqLossConfig({ disc_start: 1, perceptual_loss: 'clips' })).toThrow(
      /must be lpips/,
    );
    expect(() => klLoss({ discLoss: 'wasserstein' as 'hinge' })).toThrow(/hinge, vanilla/);
    expect(() => vqLoss({ pixelLoss: 'l3' as 'l1' })).toThrow(/l1, l2/);
    expect(() => klLoss({ discStart: -1 })).toThrow(/discStart/);
    expect(() => klLoss({ discWeight: NaN })).toThrow(/discWeight/);
    expect(() => klLoss({ klWeight: NaN })).toThrow(/klWeight/);
    expect(() => klLoss({ logvarInit: Infinity })).toThrow(/logvarInit/);
    expect(() => vqLoss({ codebookWeight: -1 })).toThrow(/codebookWeight/);
    expect(() => vqLoss({ nClasses: 1.5 })).toThrow(/nClasses/);
    expect(() => vqLoss({ discNdf: 0 })).toThrow(/discNdf/);
    const misspelt = { discWieght: 1 } as Partial<KlLossConfig>;
    expect(() => klLoss(misspelt)).toThrow(/unknown option 'discWieght'.*'discWeight'/);
    const indices = tensor([1], { dtype: 'int64' });
    expect(() => vqLoss().generatorLoss({ ...step(), indices })).toThrow(/nClasses/);
  });

  test('perceptualWeight 0 needs no network, any other does', () => {
    const config = { ...small, perceptualWeight: 0 };
    const loss = new LPIPSWithDiscriminator(config);
    expect([...loss.exportState().keys()].some((key) => key.startsWith('perceptual'))).toBe(false);
    const args = step();
    const { rec_loss } = logged(loss.generatorLoss(args));
    const difference = numbers(args.inputs.sub(args.reconstructions).abs().mean());
    expect(rec_loss).toBeCloseTo(difference[0], 5);
    expect(() => new LPIPSWithDiscriminator(small)).toThrow(/perceptualWeight 1.*loadLpips/);
  });
});

test('keys are those of a checkpoint, below loss.', () => {
  const keys = [...klLoss().exportState().keys()];
  for (const key of [
    'logvar',
    'perceptual_loss.scaling_layer.shift',
    'perceptual_loss.net.slice2.5.weight',
    'perceptual_loss.lin0.model.1.weight',
    'discriminator.main.0.weight',
    'discriminator.main.3.running_var',
  ])
    expect(keys).toContain(key);
  expect([...vqLoss().exportState().keys()]).not.toContain('logvar');
});

test('works inside autocast', () => {
  const run = (body: (compute: () => LossTerms) => LossTerms) => {
    const args = step();
    const { loss } = body(() => {
      const reconstructions = args.decoder.forward(new Generator(5).normal([2, 16, 16, 4]));
      return klLoss().generatorLoss({ ...args, reconstructions });
    });
    loss.backward();
    return { loss: loss.itemSync(), slope: args.decoder.weight.grad!.square().sum().itemSync() };
  };
  const plain = run((compute) => compute());
  const low = run((compute) => autocast('bfloat16', compute));
  expect(low.loss / plain.loss).toBeCloseTo(1, 2);
  expect(low.slope / plain.slope).toBeCloseTo(1, 1);
  expect(low).not.toEqual(plain);
});

test('trained in turn, both sides learn: the picture nears its target', async () => {
  const loss = vqLoss({ discStart: 5 });
  const { decoder, inputs } = step();
  const latents = new Generator(2).normal([2, 16, 16, 4]);
  const generator = new Adam(decoder.parameters(), { lr: 0.02, betas: [0.5, 0.9] });
  const discriminator = new Adam(loss.discriminator.parameters(), { lr: 0.002, betas: [0.5, 0.9] });
  const history: Record<string, number>[] = [];
  for (let globalStep = 0; globalStep < 25; globalStep++) {
    const entry = await tidy(async () => {
      const shared = { inputs, globalStep, codebookLoss: tensor(0) };
      loss.discriminator.requiresGrad_(false);
      const reconstructions = decoder.forward(latents);
      const first = loss.generatorLoss({ ...shared, reconstructions, lastLayer: decoder.weight });
      generator.zeroGrad();
      first.loss.backward();
      generator.step();

      loss.discriminator.requiresGrad_(true);
      const again = noGrad(() => decoder.forward(latents));
      const second = loss.discriminatorLoss({ ...shared, reconstructions: again });
      discriminator.zeroGrad();
      second.loss.backward();
      discriminator.step();
      return { ...logged(first), ...logged(second) };
    });
    history.push(entry);
  }
  const [first, last] = [history[0], history[history.length - 1]];
  expect(last.rec_loss).toBeLessThan(0.95 * first.rec_loss);
  expect(last.disc_loss).toBeLessThan(history[5].disc_loss);
  expect(last.logits_real).toBeGreaterThan(last.logits_fake);
});
