/** What any file of a U-Net must hold, known before the network is built. */
import type { Landmarks } from '../landmarks.js';
import { headsOf, withDefaults, type UNetConfig } from './config.js';

/** @internal Keys and shapes of the largest tensor of each level, and of what else decides the network's size. */
export function unetLandmarks(config: UNetConfig): Landmarks {
  const full = withDefaults(config);
  const { modelChannels, channelMult, numResBlocks, numClasses, nEmbed } = full;
  const landmarks = new Map<string, readonly number[]>([
    ['input_blocks.0.0.weight', [modelChannels, full.inChannels, 3, 3]],
    ['out.2.weight', [full.outChannels, modelChannels, 3, 3]],
  ]);
  const last = channelMult.length - 1;
  channelMult.forEach((multiplier, level) => {
    const width = multiplier * modelChannels;
    const block = (last - level) * (numResBlocks + 1) + numResBlocks;
    landmarks.set(`output_blocks.${block}.0.out_layers.3.weight`, [width, width, 3, 3]);
  });
  if (full.useSpatialTransformer) {
    const { heads, headDim } = headsOf(channelMult[last] * modelChannels, full, full.numHeads);
    const block = `middle_block.1.transformer_blocks.${full.transformerDepth - 1}`;
    landmarks.set(`${block}.attn2.to_k.weight`, [heads * headDim, full.contextDim]);
  }
  if (numClasses > 0) landmarks.set('label_emb.weight', [numClasses, 4 * modelChannels]);
  if (nEmbed > 0) landmarks.set('id_predictor.1.weight', [nEmbed, modelChannels, 1, 1]);
  return landmarks;
}
