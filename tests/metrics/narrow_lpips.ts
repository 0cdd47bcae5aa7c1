// LPIPS at a sixteenth of VGG's width, with the golden file's weights.
import { join } from 'node:path';
import { Lpips, readSafetensors, withPrefix } from '../../lib/index.js';

export const widths = [4, 8, 16, 32, 32];

const path = join(import.meta.dirname, '../golden/modules/lpips.safetensors');

/** The golden file: weights below `param.`, a pair of images, and their distance. */
export const goldenLpips = () => readSafetensors(path);

export async function narrowLpips(options: { dropout?: boolean } = {}): Promise<Lpips> {
  const lpips = new Lpips({ widths, ...options });
  await lpips.importState(withPrefix(await goldenLpips(), 'param.'));
  return lpips;
}

/** Weights by the names of {@link Lpips} as the two published files hold them. */
export function asPublished<T>(weights: Iterable<readonly [string, T]>) {
  const [vgg, heads] = [new Map<string, T>(), new Map<string, T>()];
  for (const [name, tensor] of weights)
    if (name.startsWith('net.')) vgg.set(name.replace(/^net\.slice\d/, 'features'), tensor);
    else if (name.startsWith('lin')) heads.set(name, tensor);
  return { vgg, heads };
}
