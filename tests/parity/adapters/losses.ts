// The first stage's losses: discriminators, LPIPS, and both composite losses for both optimizers.
import {
  conv2d,
  DiagonalGaussian,
  klLossConfig,
  Lpips,
  LPIPSWithDiscriminator,
  NLayerDiscriminator,
  VQLPIPSWithDiscriminator,
  vqLossConfig,
  type LossInputs,
  type LossTerms,
  type Module,
  type Tensor,
} from '../../../lib/index.js';
import { withPrefix, type StateReader } from '../../../lib/io/state.js';
import { differentiate, readParameterGradients, type Tensors } from '../differentiate.js';
import type { GoldenCase } from '../golden.js';
import type { Adapter } from '../runner.js';
import { currentPrecision } from '../tensors.js';
import { computation, layer } from './support.js';

const accuracy = 'module';

/** What a pass may change beside gradients: running statistics, and what ActNorm takes from the data. */
function after(module: Module): Tensors {
  const changed = [...module.stateDict()].filter(([key]) => /running_|loc$|scale$/.test(key));
  return Object.fromEntries(changed.map(([key, x]) => [`after.${key}`, x]));
}

const discriminator: Adapter = computation({
  subject: 'NLayerDiscriminator',
  accuracy,
  compute: (args) => {
    const network = new NLayerDiscriminator({
      inputNc: args.number('input_nc'),
      ndf: args.number('ndf'),
      nLayers: args.number('n_layers'),
      useActnorm: args.flag('use_actnorm'),
    });
    return layer(network, (m, { x }) => ({ logits: m.forward(x), ...after(m) }));
  },
});

const lpips: Adapter = computation({
  subject: 'LPIPS (reduced width)',
  accuracy,
  compute: (args) => {
    args.ignore('width_divisor');
    return layer(new Lpips({ widths: args.list('chns') }), (m, { x0, x1 }) => {
      const features = m.features(x0).map((map, k) => [`feat${k}`, map]);
      return { d: m.forward(x0, x1), ...(Object.fromEntries(features) as Tensors) };
    });
  },
});

// The perceptual network lies in a file of its own, all else once beside the cases.
async function parameters(golden: GoldenCase, perceptual: GoldenCase): Promise<StateReader> {
  const parts = [
    { prefix: 'perceptual_loss.', from: perceptual.file.state },
    { prefix: '', from: golden.file.state },
  ].map(({ prefix, from }) => ({ prefix, part: withPrefix(from, 'param.') }));
  const holder = (key: string) =>
    parts.find(({ prefix, part }) => key.startsWith(prefix) && part.has(key.slice(prefix.length)));
  const found = (key: string) => {
    const { prefix, part } = holder(key)!;
    return { part, name: key.slice(prefix.length) };
  };
  return {
    origin: golden.id,
    keys: parts.flatMap(({ prefix, part }) => part.keys.map((key) => prefix + key)),
    has: (key) => holder(key) !== undefined,
    info: (key) => found(key).part.info(found(key).name),
    get: (key) => found(key).part.get(found(key).name),
  };
}

/** Cases of a composite loss: `optimizer_idx` says whose, and the last layer is a convolution of `h`. */
function composite<L extends LPIPSWithDiscriminator | VQLPIPSWithDiscriminator>(
  subject: string,
  make: (params: Record<string, unknown>, perceptual: Lpips) => L,
  generator: (loss: L, shared: LossInputs & { lastLayer: Tensor }, inputs: Tensors) => LossTerms,
): Adapter {
  return {
    name: subject,
    accuracy,
    handles: (golden) => golden.subject === subject,
    async run(golden) {
      const { optimizer_idx: optimizer, global_step: globalStep, ...params } = golden.args;
      const { holder: perceptual } = await golden.parameterSource();
      const loss = make(params, new Lpips({ widths: perceptual.args.chns as number[] }));
      loss.to(currentPrecision());
      await loss.importState(await parameters(golden, perceptual));

      const results = await differentiate(golden, {
        loss: 'loss',
        forward(inputs) {
          const { x, h, last_layer: lastLayer } = inputs;
          const reconstructions = conv2d(h, lastLayer, null, { padding: 1 });
          const shared = { inputs: x, reconstructions, globalStep: globalStep as number };
          const terms =
            optimizer === 0
              ? generator(loss, { ...shared, lastLayer }, inputs)
              : loss.discriminatorLoss(shared);
          const log = Object.entries(terms.log).map(([name, value]) => [`log.${name}`, value]);
          const changed = Object.entries(after(loss.discriminator));
          return {
            loss: terms.loss,
            ...(Object.fromEntries(log) as Tensors),
            ...Object.fromEntries(changed.map(([name, value]) => [`disc.${name}`, value])),
          };
        },
      });
      await readParameterGradients(loss, results);
      loss.dispose();
      return results;
    },
  };
}

export const losses: readonly Adapter[] = [
  discriminator,
  lpips,
  composite(
    'LPIPSWithDiscriminator',
    (params, perceptual) => new LPIPSWithDiscriminator(klLossConfig(params), { perceptual }),
    (loss, shared, { moments }) =>
      loss.generatorLoss({ ...shared, posterior: new DiagonalGaussian(moments) }),
  ),
  composite(
    'VQLPIPSWithDiscriminator',
    (params, perceptual) => new VQLPIPSWithDiscriminator(vqLossConfig(params), { perceptual }),
    (loss, shared, { codebook_loss: codebookLoss, indices }) =>
      loss.generatorLoss({ ...shared, codebookLoss, indices }),
  ),
];
