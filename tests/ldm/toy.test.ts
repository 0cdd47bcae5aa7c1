// Diffusion learnt from samples alone: points on a ring of eight clusters, a small network, and samples whose
// distribution is that of the data, down to the width of the clusters; then a classifier that leads sampling to one.
import { beforeAll, describe, expect, it } from 'vitest';
import { permutation } from '../../lib/data/philox.js';
import {
  Adam,
  classifierGuided,
  concat,
  cos,
  ddim,
  dpmSolverPlusPlus,
  exp,
  GaussianDiffusion,
  indexSelect,
  lastLatent,
  Linear,
  manualSeed,
  matmul,
  Module,
  noise,
  noisyClassifierLoss,
  rand,
  randint,
  randn,
  setNumThreads,
  silu,
  sin,
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
// A network that predicts ε, all else alike, gives clusters 1.24 times as wide as the data's.
const diffusion = new GaussianDiffusion({
  parameterization: 'v',
  linearStart: 0.0015,
  linearEnd: 0.0195,
});
const { schedule } = diffusion;

/**
 * Sines of the coordinates: what pulls a point to the nearest of eight clusters changes fast along the ring, which
 * a network of the coordinates alone learns last, and until then its clusters are wide.
 */
const waves = [1, 2, 4, 8];
const timeWidth = 32;
const width = 96;

/** [N, 1, 1, 2] and timesteps to `out` numbers each. */
class Points extends Module<[Tensor, Tensor], Tensor> {
  readonly first = new Linear(2 + 4 * waves.length + timeWidth, width);
  readonly second = new Linear(width, width);
  readonly third = new Linear(width, width);
  readonly last: Linear;

  constructor(readonly out: number) {
    super();
    this.last = new Linear(width, out);
  }

  forward(x: Tensor, t: Tensor): Tensor {
    const points = x.reshape([x.shape[0], 2]);
    const turns = concat(
      waves.map((wave) => points.mul(wave)),
      1,
    );
    let h = concat([points, sin(turns), cos(turns), timestepEmbedding(t, timeWidth)], 1);
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
/** Of the data, by `distance`. */
let usual: number;

/** Steps of Adam along a cosine. */
async function train(network: Points, steps: number, loss: () => Tensor): Promise<void> {
  const optimizer = new Adam(network.parameters());
  for (let step = 0; step < steps; ++step)
    tidy(() => {
      loss().backward();
      for (const group of optimizer.groups)
        group.lr = 4e-3 * 0.5 * (1 + Math.cos((Math.PI * step) / steps));
      optimizer.step();
      optimizer.zeroGrad();
    });
  network.requiresGrad_(false);
  await centres.device.synchronize();
}

beforeAll(async () => {
  setNumThreads(1); // the network is too small to be shared
  manualSeed(5);
  const { timesteps } = schedule;
  await train(model, 3200, () => {
    const { x } = draw(batch);
    // more of the small ones, for the clusters' width
    const t = rand([batch]).square().mul(timesteps).to('int64');
    return diffusion.loss(denoise, x, t, randn(x.shape)).loss;
  });
  await train(classifier, 900, () => {
    const { x, labels } = draw(batch);
    const inputs = { latents: x, labels, t: randint(0, timesteps, [batch]), noise: randn(x.shape) };
    return noisyClassifierLoss((a, b) => classifier.forward(a, b), diffusion, inputs).loss;
  });
  usual = await distance(draw(20_000).x);
}, 180_000);

/** Of samples that are compared with fresh data. */
const count = 1000;
const deals = 200;
/** Rows of 1 for samples and -1 for fresh data: as they are, then dealt anew. */
const dealt = concat(
  Array.from({ length: deals }, (_, deal) => {
    const row = new Float32Array(2 * count).fill(-1);
    const order = deal === 0 ? [...row.keys()] : permutation(2 * count, 4, deal);
    for (const i of order.slice(0, count)) row[i] = 1;
    return tensor(row, { shape: [1, 2 * count] });
  }),
);
/** No other deal parts them as far. */
const unlikely = 1 / deals;

/**
 * How likely samples as far from fresh data are if both are of one distribution: the maximum mean discrepancy
 * (Gretton et al., 2012) among those of the same points dealt anew. The kernel is as wide as clusters are: it sees
 * which there are, their shares, and their width.
 */
async function likelihood(samples: Tensor): Promise<number> {
  manualSeed(21);
  const fresh = draw(count).x;
  const points = concat([samples.reshape([count, 2]), fresh.reshape([count, 2])]);
  const lengths = points.square().sum(1, { keepDims: true });
  const products = matmul(points, points.transpose());
  const squares = lengths.add(lengths.transpose()).sub(products.mul(2));
  const kernel = exp(squares.div(-2 * deviation ** 2));
  const [found, ...others] = await matmul(dealt, kernel).mul(dealt).sum(1).data();
  return (others.filter((other) => other >= found).length + 1) / deals;
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
  const start = () => {
    const { parameterization } = diffusion;
    return { initial: noise([count, 1, 1, 2], { seed: 12 }), parameterization };
  };

  // The last step leads to the mean of what is possible: where steps are not short at the end, clusters are narrow.
  it.each([
    ['DDIM', () => ddim(denoise, schedule, { ...start(), steps: 50 })],
    [
      'DDIM with noise',
      () => {
        const noisy = { steps: 100, eta: 1, discretize: 'quad', seed: 2 } as const;
        return ddim(denoise, schedule, { ...start(), ...noisy });
      },
    ],
    [
      'DPM-Solver++',
      () => dpmSolverPlusPlus(denoise, schedule, { ...start(), steps: 20, spacing: 'logsnr' }),
    ],
  ])('%s cannot be told from fresh data', async (_, run) => {
    const latent = await lastLatent(run());
    expect(await likelihood(latent)).toBeGreaterThan(unlikely);
    const spread = (await distance(latent)) / usual;
    expect(spread).toBeGreaterThan(0.92);
    expect(spread).toBeLessThan(1.1);
  });

  // What the test sees: models that have not learnt something.
  const scattered = (seen: number, wide: number) =>
    indexSelect(centres, 0, randint(0, seen, [count])).add(randn([count, 2]).mul(wide));
  const wrong: Record<string, () => Tensor> = {
    'points of seven clusters': () => scattered(clusters - 1, deviation),
    'points of clusters 1.3 times as wide': () => scattered(clusters, 1.3 * deviation),
    'points of clusters 0.75 times as wide': () => scattered(clusters, 0.75 * deviation),
    "points of a Gaussian of the data's mean and variance": () =>
      randn([count, 2]).mul(Math.hypot(radius / Math.SQRT2, deviation)),
  };
  it.each(Object.keys(wrong))('%s can', async (name) => {
    manualSeed(8);
    expect(await likelihood(wrong[name]())).toBe(unlikely);
  });

  it('fresh data cannot', async () => {
    manualSeed(9);
    expect(await likelihood(draw(count).x)).toBeGreaterThan(unlikely);
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
    // gradients of the classifier correct a predicted ε
    const epsilon = (x: Tensor, t: Tensor) => diffusion.predictEpsFromV(x, t, denoise(x, t));
    const latent = await lastLatent(
      ddim(classifierGuided(epsilon, guide), schedule, {
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
