/** Every tensor of a first stage by its shape, without building any. */
import { below, linear, norm, type Shapes } from '../shapes.js';
import { withDefaults, type FullFirstStageConfig, type VqConfig } from './config.js';
import { checkFirstStageSpec, type FirstStageSpec } from './first_stage.js';

/** Shape of every tensor in files, by key. @throws ArgumentError that names what is wrong in the spec */
export function firstStageShapes(spec: FirstStageSpec): Map<string, readonly number[]> {
  checkFirstStageSpec(spec);
  if (spec.kind === 'identity') return new Map();
  const { embedDim, colorizeNlabels: labels } = spec;
  const moments = spec.kind === 'kl' ? 2 : 1;
  const config = withDefaults({ ...spec.ddconfig, doubleZ: spec.kind === 'kl' });
  const shapes: Shapes = {
    ...below('encoder.', encoder(config)),
    ...below('decoder.', decoder(config)),
    ...linear('quant_conv', moments * embedDim, moments * config.zChannels, 1, 1),
    ...linear('post_quant_conv', config.zChannels, embedDim, 1, 1),
    ...(labels && { colorize: [3, labels, 1, 1] }),
    ...(spec.kind !== 'kl' && below('quantize.', quantizer(spec))),
  };
  return new Map(Object.entries(shapes));
}

function encoder(config: FullFirstStageConfig): Shapes {
  const { ch, chMult, numResBlocks, inChannels, resolution, zChannels, doubleZ } = config;
  const shapes = linear('conv_in', ch, inChannels, 3, 3);
  let from = ch;
  chMult.forEach((multiplier, l) => {
    const side = Math.floor(resolution / 2 ** l);
    const to = numResBlocks > 0 ? ch * multiplier : from;
    Object.assign(shapes, blocks(`down.${l}`, { count: numResBlocks, from, to, side }, config));
    if (l < chMult.length - 1 && config.resampWithConv)
      Object.assign(shapes, linear(`down.${l}.downsample.conv`, to, to, 3, 3));
    from = to;
  });
  return { ...shapes, ...middle(from, config), ...end(from, (doubleZ ? 2 : 1) * zChannels) };
}

function decoder(config: FullFirstStageConfig): Shapes {
  const { ch, chMult, numResBlocks, outCh, resolution, zChannels } = config;
  const last = chMult.length - 1;
  let from = ch * chMult[last];
  const shapes = { ...linear('conv_in', from, zChannels, 3, 3), ...middle(from, config) };
  for (let l = last; l >= 0; l--) {
    // counted from the lowest, so that odd sides stay what the decoder gives
    const side = Math.floor(resolution / 2 ** last) * 2 ** (last - l);
    const to = ch * chMult[l];
    Object.assign(shapes, blocks(`up.${l}`, { count: numResBlocks + 1, from, to, side }, config));
    if (l > 0 && config.resampWithConv)
      Object.assign(shapes, linear(`up.${l}.upsample.conv`, to, to, 3, 3));
    from = to;
  }
  return { ...shapes, ...end(from, outCh) };
}

// One resolution.
function blocks(
  level: string,
  { count, from, to, side }: { count: number; from: number; to: number; side: number },
  config: FullFirstStageConfig,
): Shapes {
  const attends = config.attnResolutions.includes(side);
  const all = Array.from({ length: count }, (_, i) => ({
    ...below(`${level}.block.${i}.`, residual(i === 0 ? from : to, to)),
    ...(attends && below(`${level}.attn.${i}.`, attention(to, config))),
  }));
  return Object.assign({}, ...all) as Shapes;
}

const middle = (width: number, config: FullFirstStageConfig): Shapes => ({
  ...below('mid.block_1.', residual(width, width)),
  ...below('mid.attn_1.', attention(width, config)),
  ...below('mid.block_2.', residual(width, width)),
});

const end = (width: number, to: number): Shapes => ({
  ...norm('norm_out', width),
  ...linear('conv_out', to, width, 3, 3),
});

const residual = (from: number, to: number): Shapes => ({
  ...norm('norm1', from),
  ...linear('conv1', to, from, 3, 3),
  ...norm('norm2', to),
  ...linear('conv2', to, to, 3, 3),
  ...(from !== to && linear('nin_shortcut', to, from, 1, 1)),
});

function attention(width: number, { attnType }: FullFirstStageConfig): Shapes {
  const pointwise = (name: string) => linear(name, width, width, 1, 1);
  switch (attnType) {
    case 'vanilla':
      return Object.assign(norm('norm', width), ...['q', 'k', 'v', 'proj_out'].map(pointwise));
    case 'linear':
      return { 'to_qkv.weight': [3 * width, width, 1, 1], ...pointwise('to_out') };
    case 'none':
      return {};
  }
}

const quantizer = ({ nEmbed, embedDim, ...options }: VqConfig): Shapes => ({
  'embedding.weight': [nEmbed, embedDim],
  ...(options.codebookEma && {
    'embedding.cluster_size': [nEmbed],
    'embedding.embed_avg': [nEmbed, embedDim],
  }),
  ...(options.remap && { used: [options.remap.length] }),
  ...(options.restartDeadCodes && { code_uses: [nEmbed] }),
});
