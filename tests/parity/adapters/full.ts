// Published networks at full size, with parameters and inputs from a formula of name and index.
import {
  AutoencoderKL,
  autoencoderConfig,
  BertEmbedder,
  noGrad,
  tensor,
  tidy,
  UNetModel,
  unetConfig,
  VQModel,
  vqConfig,
  type Module,
  type Tensor,
} from '../../../lib/index.js';
import type { Json, Values } from '../golden.js';
import { hashed, parameterValues } from '../formula.js';
import { fillParameters } from '../parameters.js';
import { Unsupported, type Adapter, type Results } from '../runner.js';
import { fromTensor, toTensor } from '../tensors.js';

type Shapes = Readonly<Record<string, unknown>>;

/** An input in PyTorch's shape: normal-sized values, or a first stage's clamped image. */
function input(shapes: Shapes, name: string, clamped = false): Tensor {
  const shape = shapes[`in.${name}`] as number[];
  const count = shape.reduce((a, b) => a * b, 1);
  const data = hashed(`in.${name}`, count).map((u) => {
    const value = u * Math.sqrt(3);
    return clamped ? Math.min(1, Math.max(-1, value)) : value;
  });
  return toTensor({ shape, data: Float32Array.from(data), dtype: 'float32' } satisfies Values);
}

type Outputs = Record<string, Tensor>;

// builds the network, then computes its outputs
function prepare(
  kind: string,
  target: string,
  config: Json,
  shapes: Shapes,
): [Module, () => Outputs] {
  switch (kind) {
    case 'unet': {
      const unet = new UNetModel(unetConfig(config));
      return [
        unet,
        () => {
          const t = tensor(shapes['in.t'] as number[], { dtype: 'int64' });
          const context = shapes['in.context'] ? input(shapes, 'context') : undefined;
          return { eps: unet.forward(input(shapes, 'x'), t, { context }) };
        },
      ];
    }
    case 'first_stage':
      if (target.endsWith('AutoencoderKL')) {
        const kl = new AutoencoderKL(autoencoderConfig(config));
        return [
          kl,
          () => {
            const posterior = kl.encode(input(shapes, 'x', true));
            return { moments: posterior.moments, reconstruction: kl.decode(posterior.mode()) };
          },
        ];
      }
      if (/\.VQModel(Interface)?$/.test(target)) {
        const vq = new VQModel(vqConfig(config));
        return [
          vq,
          () => {
            const prequant = vq.encodeToPrequant(input(shapes, 'x', true));
            const { latents, indices } = vq.quantize.forward(prequant);
            return { pre_quant: prequant, codes: indices, reconstruction: vq.decode(latents) };
          },
        ];
      }
      throw new Unsupported(`first stage '${target}'`);
    case 'x_transformer': {
      const { n_embed, n_layer, vocab_size, max_seq_len } = config as Record<string, number>;
      const bert = new BertEmbedder({
        nEmbed: n_embed,
        nLayer: n_layer,
        vocabSize: vocab_size,
        maxSeqLen: max_seq_len,
      });
      return [
        bert.transformer,
        () => {
          const shape = shapes['in.tokens'] as number[];
          const u = hashed('in.tokens', shape[0] * shape[1]);
          const ids = u.map((value) => Math.floor(((value + 1) / 2) * vocab_size));
          return { embeddings: bert.forward(tensor(ids, { shape, dtype: 'int64' })) };
        },
      ];
    }
    default:
      throw new Unsupported(`full-size network '${kind}'`);
  }
}

export const fullSize: Adapter = {
  name: 'full-size network',
  accuracy: 'module',
  handles: ({ meta }) =>
    meta.kind !== undefined && meta.config !== undefined && meta.shapes !== undefined,
  async run({ meta }) {
    const { kind, target, config, inputs, parameters } = meta as Record<string, never>;
    const [network, compute] = prepare(kind, target, config, inputs);
    await fillParameters(network, parameterValues, Number(parameters));
    network.eval();
    const results: Results = new Map();
    try {
      const outputs = tidy(() => noGrad(compute));
      for (const [name, x] of Object.entries(outputs)) {
        results.set(`out.${name}`, await fromTensor(x));
      }
    } finally {
      network.dispose(); // over a gigabyte
    }
    return results;
  },
};
