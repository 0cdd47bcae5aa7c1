// Picture metrics: PSNR and three conventions of SSIM.
import { defaultDevice, psnr, ssim, type Tensor } from '../../../lib/index.js';
import type { GoldenCase } from '../golden.js';
import type { Adapter, Results } from '../runner.js';
import { currentPrecision, fromTensor } from '../tensors.js';
import { need } from './diffusion.js';

const conventions = {
  ssim_sk_gauss: 'gaussian',
  ssim_sk_uniform: 'uniform',
  ssim_tm: 'reflected',
} as const;

// the whole batch as one tall picture
const asOne = (x: Tensor): Tensor => x.reshape([1, x.shape[0] * x.shape[1], x.shape[2], -1]);

const limit = (): number => {
  if (currentPrecision() === 'float64') return 1e-9;
  return defaultDevice().name === 'cpu' ? 1e-6 : 1e-4;
};

const imageQuality: Adapter = {
  name: 'image quality',
  accuracy: 'elementwise',
  handles: (golden) => golden.has('out.psnr') && golden.has('out.ssim_sk_gauss'),
  informative: /^out\.mse$/,
  limit,
  async run(golden: GoldenCase) {
    const [x, y] = [await need(golden, 'x'), await need(golden, 'y')];
    // the original takes the values as they are, as if black were 0 also for those in [-1, 1]
    const range = [0, golden.args.data_range as number] as const;
    const results: Results = new Map();
    results.set('out.psnr', await fromTensor(psnr(x, y, { range })));
    const all = psnr(asOne(x), asOne(y), { range });
    results.set('out.psnr_global', await fromTensor(all.reshape([])));
    for (const [name, convention] of Object.entries(conventions))
      results.set(`out.${name}`, await fromTensor(ssim(x, y, { range, convention })));
    return results;
  },
};

export const metrics: readonly Adapter[] = [imageQuality];
