/** Every layer of the network by its place and widths, and every tensor by its shape, without building any. */
import { linear, norm, type Shapes } from '../shapes.js';
import { headsOf, withDefaults, type FullUNetConfig, type UNetConfig } from './config.js';

/** A residual block, an attention, or what changes the resolution after them. */
export interface UNetLayer {
  /** what the keys of its tensors begin with, such as `input_blocks.4.1` */
  readonly path: string;
  readonly half: 'down' | 'middle' | 'up';
  readonly kind: 'residual' | 'attention' | 'resampling';
  /** 0 at the latent's own resolution */
  readonly level: number;
  /** among the layers of its kind in this half and level */
  readonly index: number;
  readonly from: number;
  readonly to: number;
}

/** The layers between first and last convolution, in the order in which they run. */
export function unetLayers(config: UNetConfig): UNetLayer[] {
  const { modelChannels, channelMult, numResBlocks, attentionResolutions } = withDefaults(config);
  const last = channelMult.length - 1;
  const layers: UNetLayer[] = [];
  const skips = [modelChannels];
  let width = modelChannels;

  const add = (layer: Omit<UNetLayer, 'from' | 'to'>, from = width, to = width) => {
    layers.push({ ...layer, from, to });
    width = to;
  };
  const attends = (level: number) => attentionResolutions.includes(2 ** level);

  channelMult.forEach((multiplier, level) => {
    const at = { half: 'down', level } as const;
    for (let index = 0; index < numResBlocks; index++) {
      const block = `input_blocks.${skips.length}`;
      const residual = { ...at, path: `${block}.0`, kind: 'residual', index } as const;
      add(residual, width, multiplier * modelChannels);
      if (attends(level)) add({ ...at, path: `${block}.1`, kind: 'attention', index });
      skips.push(width);
    }
    if (level === last) return;
    add({ ...at, path: `input_blocks.${skips.length}.0`, kind: 'resampling', index: 0 });
    skips.push(width);
  });

  const middle = { half: 'middle', level: last } as const;
  add({ ...middle, path: 'middle_block.0', kind: 'residual', index: 0 });
  add({ ...middle, path: 'middle_block.1', kind: 'attention', index: 0 });
  add({ ...middle, path: 'middle_block.2', kind: 'residual', index: 1 });

  for (let level = last, block = 0; level >= 0; level--) {
    const at = { half: 'up', level } as const;
    for (let index = 0; index <= numResBlocks; index++, block++) {
      const path = (child: number) => `output_blocks.${block}.${child}`;
      const to = channelMult[level] * modelChannels;
      add({ ...at, path: path(0), kind: 'residual', index }, width + skips.pop()!, to);
      if (attends(level)) add({ ...at, path: path(1), kind: 'attention', index });
      if (level > 0 && index === numResBlocks)
        add({ ...at, path: path(attends(level) ? 2 : 1), kind: 'resampling', index: 0 });
    }
  }
  return layers;
}

/** Shape of every tensor in files, by key. */
export function unetShapes(config: UNetConfig): Map<string, readonly number[]> {
  const full = withDefaults(config);
  const { modelChannels: M, numClasses, nEmbed } = full;
  const shapes: Shapes = {
    ...linear('time_embed.0', 4 * M, M),
    ...linear('time_embed.2', 4 * M, 4 * M),
    ...(numClasses > 0 && { 'label_emb.weight': [numClasses, 4 * M] }),
    ...linear('input_blocks.0.0', M, full.inChannels, 3, 3),
  };
  for (const layer of unetLayers(config)) {
    for (const [name, shape] of Object.entries(layerShapes(layer, full)))
      shapes[`${layer.path}.${name}`] = shape;
  }
  Object.assign(shapes, norm('out.0', M), linear('out.2', full.outChannels, M, 3, 3));
  if (nEmbed > 0)
    Object.assign(shapes, norm('id_predictor.0', M), linear('id_predictor.1', nEmbed, M, 1, 1));
  return new Map(Object.entries(shapes));
}

function layerShapes({ kind, half, from, to }: UNetLayer, config: FullUNetConfig): Shapes {
  if (kind === 'attention') {
    const heads = half === 'up' ? config.numHeadsUpsample : config.numHeads;
    return config.useSpatialTransformer
      ? transformerShapes(to, config, heads)
      : { ...norm('norm', to), ...linear('qkv', 3 * to, to, 1), ...linear('proj_out', to, to, 1) };
  }
  if (kind === 'resampling' && !config.resblockUpdown) {
    if (!config.convResample) return {};
    return linear(half === 'down' ? 'op' : 'conv', to, from, 3, 3);
  }
  const modulation = config.useScaleShiftNorm ? 2 * to : to;
  return {
    ...norm('in_layers.0', from),
    ...linear('in_layers.2', to, from, 3, 3),
    ...linear('emb_layers.1', modulation, 4 * config.modelChannels),
    ...norm('out_layers.0', to),
    ...linear('out_layers.3', to, to, 3, 3),
    ...(from !== to && linear('skip_connection', to, from, 1, 1)),
  };
}

function transformerShapes(width: number, config: FullUNetConfig, numHeads: number): Shapes {
  const { heads, headDim } = headsOf(width, config, numHeads);
  const inner = heads * headDim;
  const shapes: Shapes = { ...norm('norm', width), ...linear('proj_in', inner, width, 1, 1) };
  const attention = (name: string, context: number): Shapes => ({
    [`${name}.to_q.weight`]: [inner, inner],
    [`${name}.to_k.weight`]: [inner, context],
    [`${name}.to_v.weight`]: [inner, context],
    ...linear(`${name}.to_out.0`, inner, inner),
  });
  for (let i = 0; i < config.transformerDepth; i++) {
    const block = `transformer_blocks.${i}`;
    Object.assign(
      shapes,
      attention(`${block}.attn1`, inner),
      linear(`${block}.ff.net.0.proj`, 8 * inner, inner),
      linear(`${block}.ff.net.2`, inner, 4 * inner),
      attention(`${block}.attn2`, config.contextDim),
      ...[1, 2, 3].map((n) => norm(`${block}.norm${n}`, inner)),
    );
  }
  return Object.assign(shapes, linear('proj_out', width, inner, 1, 1));
}
