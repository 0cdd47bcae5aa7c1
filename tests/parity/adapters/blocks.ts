// Building blocks of first stages and U-Nets.
import {
  AttentionBlock,
  AttnBlock,
  BasicTransformerBlock,
  CrossAttention,
  Downsample,
  FeedForward,
  LinearAttention,
  ResBlock,
  ResnetBlock,
  SpatialTransformer,
  UNetDownsample,
  UNetUpsample,
  Upsample,
} from '../../../lib/index.js';
import type { Adapter } from '../runner.js';
import { Unsupported } from '../runner.js';
import { computation, layer, type Arguments } from './support.js';

const accuracy = 'module';

// "first stage Downsample" and the like, on as many channels as the input has
function resampler(args: Arguments, channels: number) {
  const cls = args.text('cls');
  const outChannels = args.optional('out_channels') ?? channels;
  switch (cls) {
    case 'first stage Downsample':
      return new Downsample(channels, args.flag('with_conv', true));
    case 'first stage Upsample':
      return new Upsample(channels, args.flag('with_conv', true));
    case 'UNet Downsample':
      return new UNetDownsample(channels, args.flag('use_conv', true), outChannels);
    case 'UNet Upsample':
      return new UNetUpsample(channels, args.flag('use_conv', true), outChannels);
    default:
      throw new Unsupported(`${args.what}: class '${cls}'`);
  }
}

export const blocks: readonly Adapter[] = [
  computation({
    subject: 'ResnetBlock',
    accuracy,
    compute: (args) => {
      const block = new ResnetBlock(args.number('in_channels'), {
        outChannels: args.optional('out_channels'),
        tembChannels: args.optional('temb_channels') ?? 512,
        convShortcut: args.flag('conv_shortcut'),
        dropout: args.optional('dropout'),
      });
      return layer(block, (m, { x, temb }) => ({ y: m.forward(x, temb) }));
    },
  }),
  computation({
    subject: 'AttnBlock',
    accuracy,
    compute: (args) =>
      layer(new AttnBlock(args.number('in_channels')), (m, { x }) => ({ y: m.forward(x) })),
  }),
  computation({
    subject: 'LinearAttention',
    accuracy,
    compute: (args) => {
      const block = new LinearAttention(
        args.number('dim'),
        args.optional('heads'),
        args.optional('dim_head'),
      );
      return layer(block, (m, { x }) => ({ y: m.forward(x) }));
    },
  }),
  computation({
    subject: 'Upsample/Downsample of both model files',
    accuracy,
    compute: async (args, golden) => {
      const [, channels] = (await golden.input('x'))!.shape;
      return layer(resampler(args, channels), (m, { x }) => ({ y: m.forward(x) }));
    },
  }),
  computation({
    subject: 'ResBlock (UNet)',
    accuracy,
    compute: (args) => {
      const block = new ResBlock(args.number('channels'), args.number('emb_channels'), {
        outChannels: args.optional('out_channels'),
        useConv: args.flag('use_conv'),
        useScaleShiftNorm: args.flag('use_scale_shift_norm'),
        resample: args.flag('up') ? 'up' : args.flag('down') ? 'down' : 'none',
        dropout: args.optional('dropout'),
      });
      args.ignore('use_checkpoint', 'down');
      return layer(block, (m, { x, emb }) => ({ y: m.forward(x, emb) }));
    },
  }),
  computation({
    subject: 'AttentionBlock (UNet)',
    accuracy,
    compute: (args) => {
      const channels = args.number('channels');
      const width = args.optional('num_head_channels') ?? -1;
      const heads = args.optional('num_heads') ?? 1;
      const block = new AttentionBlock(channels, {
        heads: width > 0 ? channels / width : heads,
        order: args.flag('use_new_attention_order') ? 'qkv-first' : 'heads-first',
      });
      args.ignore('use_checkpoint');
      return layer(block, (m, { x }) => ({ y: m.forward(x) }));
    },
  }),
  computation({
    subject: 'CrossAttention',
    accuracy,
    compute: (args) => {
      const block = new CrossAttention(args.number('query_dim'), {
        contextDim: args.optional('context_dim'),
        heads: args.optional('heads'),
        dimHead: args.optional('dim_head'),
        dropout: args.optional('dropout'),
      });
      return layer(block, (m, { x, context, mask }) => ({ y: m.forward(x, { context, mask }) }));
    },
  }),
  computation({
    subject: 'FeedForward',
    accuracy,
    compute: (args) => {
      const block = new FeedForward(args.number('dim'), {
        dimOut: args.optional('dim_out'),
        mult: args.optional('mult'),
        glu: args.flag('glu'),
        dropout: args.optional('dropout'),
      });
      return layer(block, (m, { x }) => ({ y: m.forward(x) }));
    },
  }),
  computation({
    subject: 'BasicTransformerBlock',
    accuracy,
    compute: (args) => {
      const [dim, heads, width] = [
        args.number('dim'),
        args.number('n_heads'),
        args.number('d_head'),
      ];
      const block = new BasicTransformerBlock(dim, heads, width, {
        contextDim: args.optional('context_dim'),
        gatedFf: args.flag('gated_ff', true),
        dropout: args.optional('dropout'),
      });
      args.ignore('checkpoint');
      return layer(block, (m, { x, context }) => ({ y: m.forward(x, context) }));
    },
  }),
  computation({
    subject: 'SpatialTransformer',
    accuracy,
    compute: (args) => {
      const block = new SpatialTransformer(args.number('in_channels'), {
        heads: args.number('n_heads'),
        dimHead: args.number('d_head'),
        depth: args.optional('depth'),
        contextDim: args.optional('context_dim'),
        dropout: args.optional('dropout'),
      });
      return layer(block, (m, { x, context }) => ({ y: m.forward(x, context) }));
    },
  }),
];
