// Picture metrics (PSNR and three conventions of SSIM) and metrics between sets of features.
import {
  defaultDevice,
  densityCoverage,
  FeatureStatistics,
  frechetDistance,
  inceptionScore,
  indexSelect,
  polynomialMmd,
  precisionRecall,
  psnr,
  ssim,
  type FeatureMoments,
  type Tensor,
} from '../../../lib/index.js';
import { neighbourRadii } from '../../../lib/metrics/bounded_distances.js';
import { meanStd } from '../../../lib/metrics/mean_std.js';
import type { Computed } from '../compare.js';
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

const scalar = (value: number): Computed => ({ shape: [], data: [value] });
const vector = (data: ArrayLike<number>): Computed => ({ shape: [data.length], data });

async function momentsOf(features: Tensor): Promise<FeatureMoments> {
  const statistics = new FeatureStatistics();
  await statistics.update(features);
  return statistics.moments();
}

const trace = ({ mean, covariance }: FeatureMoments): number =>
  mean.reduce((sum, _, i) => sum + covariance[i * mean.length + i], 0);

async function frechet(real: Tensor, fake: Tensor): Promise<Results> {
  const [R, F] = [await momentsOf(real), await momentsOf(fake)];
  const few = await momentsOf(fake.narrow(0, 0, fake.shape[1] / 2));
  const squares = R.mean.map((value, i) => (value - F.mean[i]) ** 2);
  return new Map([
    ['out.real_mean', vector(R.mean)],
    ['out.fake_mean', vector(F.mean)],
    ['out.real_cov_trace', scalar(trace(R))],
    ['out.fake_cov_trace', scalar(trace(F))],
    ['out.real_cov_first_row', vector(R.covariance.subarray(0, R.mean.length))],
    ['out.mean_distance_squared', scalar(squares.reduce((a, b) => a + b))],
    ['out.frechet', scalar(await frechetDistance(R, F))],
    ['out.frechet_first_half_dim_fakes', scalar(await frechetDistance(R, few))],
  ]);
}

async function kernel(golden: GoldenCase, real: Tensor, fake: Tensor): Promise<Results> {
  const [ofReal, ofFake] = [await need(golden, 'kid_real_idx'), await need(golden, 'kid_fake_idx')];
  const values: number[] = [];
  for (let i = 0; i < ofReal.shape[0]; i++) {
    const [x, y] = [
      indexSelect(real, 0, ofReal.select(0, i)),
      indexSelect(fake, 0, ofFake.select(0, i)),
    ];
    values.push(await polynomialMmd(x, y));
  }
  const { mean, std } = meanStd(values);
  return new Map([
    ['out.kid_full', scalar(await polynomialMmd(real, fake))],
    ['out.kid_subsets', vector(values)],
    ['out.kid_mean', scalar(mean)],
    ['out.kid_std', scalar(std)],
  ]);
}

async function neighbours(real: Tensor, fake: Tensor, k: number): Promise<Results> {
  const { precision, recall } = await precisionRecall(real, fake, { k });
  const { density, coverage } = await densityCoverage(real, fake, { k });
  const results: Results = new Map([
    [`out.precision_k${k}`, scalar(precision)],
    [`out.recall_k${k}`, scalar(recall)],
    [`out.density_k${k}`, scalar(density)],
    [`out.coverage_k${k}`, scalar(coverage)],
  ]);
  for (const [name, x] of Object.entries({ real, fake })) {
    const [squares] = await neighbourRadii(x, [k]);
    results.set(`out.${name}_radii_k${k}`, vector(squares.map(Math.sqrt)));
  }
  return results;
}

// Single precision holds the inputs exactly, and everything behind them is computed in double. The radii are
// stored in single precision, and the reference's root of a singular product is good to 1e-6 only.
const doubleLimit = (_: GoldenCase, name: string): number => {
  if (name === 'out.frechet_first_half_dim_fakes') return 1e-6;
  return name.includes('radii') ? 1e-7 : 1e-9;
};

const features: Adapter = {
  name: 'distances between sets of features',
  accuracy: 'elementwise',
  handles: (golden) => golden.has('in.real') && golden.has('out.frechet'),
  limit: doubleLimit,
  async run(golden: GoldenCase) {
    const [real, fake] = [await need(golden, 'real'), await need(golden, 'fake')];
    const parts = [await frechet(real, fake), await kernel(golden, real, fake)];
    for (const k of [3, 5]) parts.push(await neighbours(real, fake, k));
    return new Map(parts.flatMap((part) => [...part]));
  },
};

const inception: Adapter = {
  name: 'Inception score',
  accuracy: 'elementwise',
  handles: (golden) => golden.has('in.logits') && golden.has('out.split_mean'),
  limit: doubleLimit,
  async run(golden: GoldenCase) {
    const logits = await need(golden, 'logits');
    const splits = (await golden.values('out.score_splits')).data.length;
    const { mean, std } = await inceptionScore(logits, { splits });
    const rows = logits.shape[0] / splits;
    const scores: number[] = [];
    for (let i = 0; i < splits; i++)
      scores.push((await inceptionScore(logits.narrow(0, i * rows, rows), { splits: 1 })).mean);
    return new Map([
      ['out.score', scalar((await inceptionScore(logits, { splits: 1 })).mean)],
      ['out.score_splits', vector(scores)],
      ['out.split_mean', scalar(mean)],
      ['out.split_std', scalar(std)],
    ]);
  },
};

export const metrics: readonly Adapter[] = [imageQuality, features, inception];
