// Whole networks, and the latent's distribution.
import {
  AutoencoderKL,
  autoencoderConfig,
  BertEmbedder,
  ClassEmbedder,
  clamp,
  concat,
  Decoder,
  DiagonalGaussian,
  Encoder,
  firstStageConfig,
  SpatialRescaler,
  TransformerEncoder,
  UNetModel,
  unetConfig,
  VectorQuantizer,
  VQModel,
  vqConfig,
  type Module,
  type SpatialRescalerConfig,
  type Tensor,
} from '../../../lib/index.js';
import type { Json } from '../golden.js';
import { Unsupported, type Adapter } from '../runner.js';
import { Arguments, computation, layer } from './support.js';

const accuracy = 'module';

/** The network that metadata describes by `module` and `args`: what samplers and training run on. */
export function buildNetwork(subject: string | undefined, args: Json): Module {
  switch (subject) {
    case 'UNetModel':
      return new UNetModel(unetConfig(args));
    case 'AutoencoderKL':
      return new AutoencoderKL(autoencoderConfig(args));
    default:
      throw new Unsupported(`network '${subject ?? 'not named'}'`);
  }
}

const unet: Adapter = computation({
  subject: 'UNetModel',
  accuracy,
  compute: (args, golden) => {
    args.ignore(...Object.keys(golden.args));
    // conditioning of the concat kind joins the latent's channels
    const model = new UNetModel(unetConfig(golden.args));
    return layer(model, (m, { x, t, context, y, c_concat: extra }) => ({
      eps: m.forward(extra ? concat([x, extra], 3) : x, t, { context, y }),
    }));
  },
});

const autoencoderKL: Adapter = computation({
  subject: 'AutoencoderKL',
  accuracy,
  compute: (args, golden) => {
    args.ignore(...Object.keys(golden.args));
    const model = new AutoencoderKL(autoencoderConfig(golden.args));
    return layer(model, (m, { x, eps }) => {
      const { reconstruction, posterior, latents } = m.forward(x, eps);
      const { moments, mean, logvar } = posterior;
      return { dec: reconstruction, moments, z: latents, mean, logvar, kl: posterior.kl() };
    });
  },
});

const vqModel: Adapter = computation({
  subject: 'VQModel',
  accuracy,
  compute: (args, golden) => {
    args.ignore(...Object.keys(golden.args));
    const model = new VQModel(vqConfig(golden.args));
    return layer(model, (m, { x }) => {
      const prequant = m.encodeToPrequant(x);
      const { latents, loss, indices } = m.quantize.forward(prequant);
      return { dec: m.decode(latents), emb_loss: loss, quant: latents, prequant, indices };
    });
  },
});

const vectorQuantizer: Adapter = computation({
  subject: 'VectorQuantizer2',
  accuracy,
  compute: (args) => {
    const quantizer = new VectorQuantizer(args.number('n_e'), args.number('e_dim'), {
      beta: args.number('beta'),
      legacy: args.flag('legacy', true),
      saneIndexShape: args.flag('sane_index_shape'),
    });
    return layer(quantizer, (m, { z }) => {
      const { latents, loss, indices } = m.forward(z);
      return { z_q: latents, loss, indices };
    });
  },
});

const diagonalGaussian: Adapter = computation({
  subject: 'DiagonalGaussianDistribution',
  accuracy: 'elementwise',
  compute: () => ({
    forward: ({ moments, other, sample, eps }) => {
      const posterior = new DiagonalGaussian(moments);
      // divergence and likelihood are of tamer distributions, to stay in float32's range
      const tame = (raw: Tensor) => {
        const [mean, logvar] = raw.chunk(2, 3);
        return new DiagonalGaussian(concat([mean, clamp(logvar, -3, 3)], 3));
      };
      return {
        sample: posterior.sample(eps),
        mode: posterior.mode(),
        std: posterior.std,
        var: posterior.variance,
        logvar: posterior.logvar,
        kl: posterior.kl(),
        kl_other: tame(moments).kl(new DiagonalGaussian(other)),
        nll: tame(moments).nll(sample),
      };
    },
  }),
});

const halves: readonly Adapter[] = [
  computation({
    subject: 'Encoder (first stage)',
    accuracy,
    compute: (args, golden) => {
      args.ignore(...Object.keys(golden.args));
      const encoder = new Encoder(firstStageConfig(golden.args));
      return layer(encoder, (m, { x }) => ({ h: m.forward(x) }));
    },
  }),
  computation({
    subject: 'Decoder (first stage)',
    accuracy,
    compute: (args, golden) => {
      args.ignore(...Object.keys(golden.args));
      const decoder = new Decoder(firstStageConfig(golden.args));
      return layer(decoder, (m, { z }) => ({ y: m.forward(z) }));
    },
  }),
];

const bertEmbedder: Adapter = computation({
  subject: 'BERTEmbedder',
  accuracy,
  compute: (args) => {
    const embedder = new BertEmbedder({
      nEmbed: args.number('n_embed'),
      nLayer: args.number('n_layer'),
      vocabSize: args.optional('vocab_size'),
      maxSeqLen: args.optional('max_seq_len'),
      embeddingDropout: args.optional('embedding_dropout'),
    });
    if (args.flag('use_tokenizer', true)) throw new Unsupported('BERTEmbedder: use_tokenizer');
    return layer(embedder, (m, { tokens }) => ({ z: m.forward(tokens) }));
  },
});

const transformer: Adapter = computation({
  subject: 'TransformerWrapper(attn_layers=Encoder(...))',
  accuracy,
  compute: (args, golden) => {
    args.ignore('wrapper', 'encoder');
    const wrapper = new Arguments('TransformerWrapper', golden.args.wrapper as Json);
    const encoder = new Arguments('Encoder', golden.args.encoder as Json);
    const config = {
      numTokens: wrapper.number('num_tokens'),
      maxSeqLen: wrapper.number('max_seq_len'),
      embDropout: wrapper.optional('emb_dropout'),
      tieEmbedding: wrapper.flag('tie_embedding'),
      dim: encoder.number('dim'),
      depth: encoder.number('depth'),
      heads: encoder.optional('heads'),
      attnDimHead: encoder.optional('attn_dim_head'),
      ffMult: encoder.optional('ff_mult'),
      ffGlu: encoder.flag('ff_glu'),
    };
    wrapper.done();
    encoder.done();
    return layer(new TransformerEncoder(config), (m, { tokens, mask }) => {
      const z = m.forward(tokens, mask);
      return { z, logits: m.logits(z) };
    });
  },
});

const classEmbedder: Adapter = computation({
  subject: 'ClassEmbedder',
  accuracy,
  compute: (args) => {
    args.ignore('key');
    const embedder = new ClassEmbedder({
      embedDim: args.number('embed_dim'),
      nClasses: args.optional('n_classes'),
    });
    return layer(embedder, (m, { y }) => ({ c: m.forward(y) }));
  },
});

const spatialRescaler: Adapter = computation({
  subject: 'SpatialRescaler',
  accuracy,
  compute: (args) => {
    const rescaler = new SpatialRescaler({
      nStages: args.number('n_stages'),
      method: args.text('method') as SpatialRescalerConfig['method'],
      multiplier: args.number('multiplier'),
      inChannels: args.number('in_channels'),
      outChannels: args.optional('out_channels'),
      bias: args.flag('bias'),
    });
    return layer(rescaler, (m, { x }) => ({ y: m.forward(x) }));
  },
});

export const networks: readonly Adapter[] = [
  unet,
  autoencoderKL,
  vqModel,
  vectorQuantizer,
  diagonalGaussian,
  ...halves,
  bertEmbedder,
  transformer,
  classEmbedder,
  spatialRescaler,
];
