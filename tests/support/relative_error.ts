// How exact float32 results are, beside float64.
import { matmul, tensor, type Tensor } from '../../lib/index.js';

const norm = async (x: Tensor): Promise<number> => Math.sqrt(Number(await x.square().sum().item()));

/** The norm of what a result is off by over the norm of the exact one, which is in float64. */
export async function relativeError(rounded: Tensor, exact: Tensor): Promise<number> {
  const [found, wanted] = [rounded.detach().to('float64'), exact.detach()];
  return (await norm(found.sub(wanted))) / (await norm(wanted));
}

/** Whether products reach their sums unrounded: not without multiply-add instructions, nor under a sanitizer. */
async function fused(): Promise<boolean> {
  const x = 1 + 2 ** -12;
  const rounded = Math.fround(x * x);
  // More steps than products have that only wait for memory, which add in another order.
  const a = tensor([rounded, x, 0, 0, 0, 0, 0, 0]).expand([20, 8]);
  const b = tensor([-1, x, 0, 0, 0, 0, 0, 0], { shape: [8, 1] }).expand([8, 40]);
  return Number(await matmul(a, b).abs().max().item()) > 0;
}

/** What errors may exceed those of fused products by, as a factor. */
export const slack = (await fused()) ? 1 : 1.1;
