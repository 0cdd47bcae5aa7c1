/** What any file of a U-Net must hold, known before the network is built. */
import type { Landmarks } from '../landmarks.js';
import { withDefaults, type UNetConfig } from './config.js';

/** @internal Keys and shapes of the largest tensor of each level. */
export function unetLandmarks(config: UNetConfig): Landmarks {
  const { modelChannels, channelMult, numResBlocks } = withDefaults(config);
  const landmarks = new Map<string, readonly number[]>();
  const last = channelMult.length - 1;
  channelMult.forEach((multiplier, level) => {
    const width = multiplier * modelChannels;
    const block = (last - level) * (numResBlocks + 1) + numResBlocks;
    landmarks.set(`output_blocks.${block}.0.out_layers.3.weight`, [width, width, 3, 3]);
  });
  return landmarks;
}
