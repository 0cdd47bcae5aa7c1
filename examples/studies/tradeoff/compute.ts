// What a network costs, counted from the shapes of its layers: the same on every machine, whatever else runs.
import { unetLayers, unetShapes, type UNetConfig, type UNetLayer } from '../../../lib/index.js';

const product = (shape: readonly number[]): number => shape.reduce((all, each) => all * each, 1);

/** Weights and biases of a U-Net. */
export const parameterCount = (config: UNetConfig): number =>
  [...unetShapes(config).values()].reduce((sum, shape) => sum + product(shape), 0);

/**
 * Multiplications with an addition in one pass of a U-Net over one latent: of convolutions, linear layers and
 * attention, beside which the rest is small. For networks with attention blocks and plain resampling.
 * @param side of the latent
 */
export function multiplyAdds(config: UNetConfig, side: number): number {
  const layers = new Map(unetLayers(config).map((layer) => [layer.path, layer]));
  let total = 0;
  for (const [key, shape] of unetShapes(config))
    if (key.endsWith('.weight') && shape.length > 1)
      total += product(shape) * positions(key, layers, side);
  for (const { kind, level, to } of layers.values())
    if (kind === 'attention') total += 2 * pixels(side, level) ** 2 * to; // QKᵀ, and its product with V
  return total;
}

const pixels = (side: number, level: number): number => (side / 2 ** level) ** 2;

/** How often a weight is used: at every pixel of the map that its layer makes, or once for each latent. */
function positions(key: string, layers: ReadonlyMap<string, UNetLayer>, side: number): number {
  if (key.startsWith('time_embed') || key.includes('.emb_layers.')) return 1;
  const layer = layers.get(/^\w+_blocks?\.\d+(\.\d+)?(?=\.)/.exec(key)?.[0] ?? '');
  const middle = layers.get(/^middle_block\.\d+/.exec(key)?.[0] ?? '');
  const { kind, level, half } = layer ?? middle ?? ({ level: 0 } as UNetLayer);
  if (kind !== 'resampling') return pixels(side, level);
  return pixels(side, half === 'down' ? level + 1 : level - 1);
}
