// Diffusion learnt from samples alone: points on a ring of eight clusters, a small network, and samples whose
// distribution is that of the data; then a classifier that leads sampling to one cluster.
import { beforeAll, describe, expect, it } from 'vitest';
import { permutation } from '../../lib/data/philox.js';
import {
  Adam,
  classifierGuided,
  concat,
  ddim,
  dpmSolverPlusPlus,
  GaussianDiffusion,
  indexSelect,
  lastLatent,
  Linear,
  manualSeed,
  Module,
  noise,
  noisyClassifierLoss,
  randint,
  randn,
  setNumThreads,
  silu,
  tensor,
  tidy,
  timestepEmbedding,
  type Tensor,
} from '../../lib/index.js';

const clusters = 8;
const radius = 1.4;
const deviation = 0.2;
const centre = (k: number): [number, number] => [
  radius * Math.cos((2 * Math.PI * k) / clusters),
  radius * Math.sin((2 * Math.PI * k) / clusters),
];
const centres = tensor(Array.from({ length: clusters }, (_, k) => centre(k)).flat(), {
  shape: [clusters, 2],
});
const diffusion = new GaussianDiffusion({ linearStart: 0.0015, linearEnd: 0.0195 });
const { schedule } = diffusion;

/** [N, 1, 1, 2] and timesteps to `out` numbers each. */
class Points extends Module<[Tensor, Tensor], Tensor> {
  readonly first = new Linear(2 + 32, 96);
  readonly second = new Linear(96, 96);
  readonly third = new Linear(96, 96);
  readonly last: Linear;

  constructor(readonly out: number) {
    super();
    this.last = new Linear(96, out);
  }

  forward(x: Tensor, t: Tensor): Tensor {
    const N = x.shape[0];
    let h = concat([x.reshape([N, 2]), timestepEmbedding(t, 32)], 1);
    for (const layer of [this.first, this.second, this.third]) h = silu(layer.forward(h));
    return this.last.forward(h);
  }
}

/** Points of the ring and their clusters. */
function draw(count: number): { x: Tensor; labels: Tensor } {
  const labels = randint(0, clusters, [count]);
  const x = indexSelect(centres, 0, labels).add(randn([count, 2]).mul(deviation));
  return { x: x.reshape([count, 1, 1, 2]), labels };
}

const batch = 256;
const model = new Points(2);
const classifier = new Points(clusters);
const denoise = (x: Tensor, t: Tensor) => model.forward(x, t).reshape(x.shape);

beforeAll(async () => {
  setNumThreads(1); // the network is too small to be shared
  manualSeed(5);
  const optimizers = [
    new Adam(model.parameters(), { lr: 4e-3 }),
    new Adam(classifier.parameters(), { lr: 4e-3 }),
  ];
  const steps = 2500;
  for (let step = 0; step < steps; ++step) {
    tidy(() => {
      const { x, labels } = draw(batch);
      const t = randint(0, schedule.timesteps, [batch]);
      const eps = randn(x.shape);
      diffusion.loss(denoise, x, t, eps).loss.backward();
      const inputs = { latents: x, labels, t, noise: eps };
      noisyClassifierLoss((a, b) => classifier.forward(a, b), diffusion, inputs).loss.backward();
      for (const optimizer of optimizers) {
        for (const group of optimizer.groups)
          group.lr = 4e-3 * 0.5 * (1 + Math.cos((Math.PI * step) / steps));
        optimizer.step();
        optimizer.zeroGrad();
      }
    });
  }
  model.requiresGrad_(false);
  classifier.requiresGrad_(false);
  await centres.device.synchronize();
}, 180_000);

/**
 * How likely samples as far from fresh data are if both are of one distribution: the maximum mean discrepancy
 * (Gretton et al., 2012) among those of the same points dealt anew. The kernel is half as wide as clusters are
 * apart: it sees which there are and their shares, and how wide they are only roughly.
 */
async function likelihood(samples: Tensor): Promise<number> {
  const [count] = samples.shape;
  manualSeed(21);
  const fresh = draw(count).x;
  const points = (await concat([
    samples.reshape([count, 2]),
    fresh.reshape([count, 2]),
  ]).data()) as Float32Array;
  const total = 2 * count;
  const width = 3 * deviation;
  const kernel = new Float64Array(total * total);
  for (let i = 0; i < total; ++i)
    for (let j = 0; j < total; ++j) {
      const square =
        (points[2 * i] - points[2 * j]) ** 2 + (points[2 * i + 1] - points[2 * j + 1]) ** 2;
      kernel[i * total + j] = Math.exp(-square / (2 * width ** 2));
    }
  const discrepancy = (order: ArrayLike<number>): number => {
    const sign = new Float64Array(total);
    for (let i = 0; i < total; ++i) sign[order[i]] = i < count ? 1 : -1;
    let sum = 0;
    for (let i = 0; i < total; ++i) {
      let row = 0;
      for (let j = 0; j < total; ++j) row += sign[j] * kernel[i * total + j];
      sum += sign[i] * row;
    }
    return sum;
  };
  const found = discrepancy(Array.from({ length: total }, (_, i) => i));
  const deals = 99;
  let farther = 0;
  for (let deal = 0; deal < deals; ++deal)
    if (discrepancy(permutation(total, 4, deal)) >= found) farther++;
  return (farther + 1) / (deals + 1);
}

/** Root mean square distance to the nearest centre. */
async function distance(latent: Tensor): Promise<number> {
  const values = (await latent.data()) as Float32Array;
  const count = values.length / 2;
  let square = 0;
  for (let i = 0; i < count; ++i) {
    const distances = Array.from({ length: clusters }, (_, k) => {
      const [x, y] = centre(k);
      return (values[2 * i] - x) ** 2 + (values[2 * i + 1] - y) ** 2;
    });
    square += Math.min(...distances) / count;
  }
  return Math.sqrt(square);
}

describe('a model of points on a ring', () => {
  const count = 400;
  const initial = () => noise([count, 1, 1, 2], { seed: 11 });

  it.each([
    ['DDIM', () => ddim(denoise, schedule, { steps: 50, initial: initial() })],
    [
      'DDIM with noise',
      () => ddim(denoise, schedule, { steps: 100, eta: 1, initial: initial(), seed: 2 }),
    ],
    ['DPM-Solver++', () => dpmSolverPlusPlus(denoise, schedule, { steps: 20, initial: initial() })],
  ])('%s cannot be told from fresh data', async (_, run) => {
    const latent = await lastLatent(run());
    expect(await likelihood(latent)).toBeGreaterThan(0.01);
    // points anywhere on the ring would be 1.8 times as far from the centres as points of clusters
    const spread = (await distance(latent)) / (Math.SQRT2 * deviation);
    expect(spread).toBeGreaterThan(0.85);
    expect(spread).toBeLessThan(1.4);
  });

  // What the test sees: models that have not learnt something.
  const wrong: Record<string, () => Tensor> = {
    'points of seven clusters': () => {
      const labels = randint(0, clusters - 1, [count]);
      return indexSelect(centres, 0, labels).add(randn([count, 2]).mul(deviation));
    },
    "points of a Gaussian of the data's mean and variance": () =>
      randn([count, 2]).mul(Math.hypot(radius / Math.SQRT2, deviation)),
  };
  it.each(Object.keys(wrong))('%s can', async (name) => {
    manualSeed(8);
    expect(await likelihood(wrong[name]())).toBeLessThanOrEqual(0.01);
  });

  it('fresh data cannot', async () => {
    manualSeed(9);
    expect(await likelihood(draw(count).x)).toBeGreaterThan(0.01);
  });

  it('a classifier of noisy points leads to the cluster asked for', async () => {
    const count = 200;
    const wanted = Array.from({ length: count }, (_, i) => BigInt(i % clusters));
    const labels = tensor(BigInt64Array.from(wanted));
    const guide = {
      classifier: (x: Tensor, t: Tensor) => classifier.forward(x, t),
      labels,
      scale: 4,
      schedule,
    };
    const latent = await lastLatent(
      ddim(classifierGuided(denoise, guide), schedule, {
        steps: 50,
        initial: noise([count, 1, 1, 2], { seed: 12 }),
      }),
    );
    const values = (await latent.data()) as Float32Array;
    // the cluster of a point is that of its direction: guidance leads a little beyond the ring
    const obeyed = wanted.filter((k, i) => {
      const turn = Math.atan2(values[2 * i + 1], values[2 * i]) / (2 * Math.PI);
      return (Math.round(turn * clusters) + clusters) % clusters === Number(k);
    });
    // without guidance an eighth would
    expect(obeyed.length / count).toBeGreaterThan(0.95);
  });
});
