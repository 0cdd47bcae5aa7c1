/** Classifier-free guidance (Ho & Salimans; paper, section 4.3.1 and appendix C). */
import { concat } from '../../ops/index.js';
import type { Tensor } from '../../tensor.js';
import type { Denoiser } from '../diffusion/gaussian_diffusion.js';

/** Named conditioning tensors [N, ...], such as `{ context }` or `{ y }`. */
export type Conditioning = Readonly<Record<string, Tensor>>;

/** A network with its conditioning as an argument. */
export type ConditionalDenoiser<C extends Conditioning> = (
  x: Tensor,
  t: Tensor,
  conditioning: C,
) => Tensor;

/**
 * ε = ε_u + scale·(ε_c - ε_u), both from one call on a doubled batch, the unconditional half first. With
 * scale 1, or nothing to guide away from, a single conditional call.
 */
export function guided<C extends Conditioning>(
  model: ConditionalDenoiser<C>,
  conditioning: C,
  unconditional: C | undefined,
  scale: number,
): Denoiser {
  if (unconditional === undefined || scale === 1) return (x, t) => model(x, t, conditioning);
  return (x, t) => {
    const both = Object.fromEntries(
      Object.entries(conditioning).map(([name, c]) => [name, concat([unconditional[name], c], 0)]),
    ) as C;
    const output = model(concat([x, x], 0), concat([t, t], 0), both);
    const [without, withCondition] = output.chunk(2, 0);
    return without.add(withCondition.sub(without).mul(scale));
  };
}
