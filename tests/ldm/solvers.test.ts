// Samplers against data whose probability flow is known: how fast their errors fall with the number of steps,
// and what their options do.
import { describe, expect, it } from 'vitest';
import {
  classifierGuided,
  ddim,
  ddimSchedule,
  ddpm,
  dpmSolverPlusPlus,
  euler,
  eulerAncestral,
  GaussianDiffusion,
  lastLatent,
  noGrad,
  noise,
  plms,
  solverGrid,
  tensor,
  tidy,
  unipc,
  type DdimOptions,
  type Denoiser,
  type SamplerRun,
  type Spacing,
  type StepPlan,
  type Tensor,
} from '../../lib/index.js';
import { classLogits, componentNoise, components, exactDenoiser, exactPath } from './mixture.js';

const diffusion = new GaussianDiffusion({ linearStart: 0.0015, linearEnd: 0.0195 });
const { schedule } = diffusion;
const alphaBars = schedule.exact.alphasCumprod;
// between timesteps ln ᾱ is on the line between its neighbours
const alphaBarAt = (t: number): number => {
  const below = Math.min(Math.floor(t), schedule.timesteps - 2);
  return alphaBars[below] * (alphaBars[below + 1] / alphaBars[below]) ** (t - below);
};
const denoise = exactDenoiser(alphaBarAt);

const starts = Float64Array.from(noise([32], { seed: 3 }).dataSync() as Float32Array);
const values = async (x: Tensor) => [...((await x.to('float64').data()) as Float64Array)];

/** Root mean square distance from the exact path, which both set out on at the plan's first step. */
async function errorOf(
  plan: StepPlan,
  end: number,
  run: (initial: Tensor) => SamplerRun,
): Promise<number> {
  const first = plan.alphas[plan.alphas.length - 1];
  const top = alphaBars[schedule.timesteps - 1];
  const initial = starts.map((x) => exactPath(x, top, first));
  const exact = starts.map((x) => exactPath(x, top, end));
  const latent = await lastLatent(run(tensor(initial, { shape: [32, 1, 1, 1], dtype: 'float64' })));
  const found = await values(latent);
  return Math.sqrt(found.reduce((sum, x, i) => sum + (x - exact[i]) ** 2, 0) / found.length);
}

/** Mean of log2(error(n) / error(2n)): the order of convergence. */
async function order(counts: readonly number[], error: (n: number) => Promise<number>) {
  const errors = [];
  for (const n of counts) errors.push(await error(n));
  const halvings = errors.length - 1;
  return { order: Math.log2(errors[0] / errors[halvings]) / halvings, errors };
}

describe('convergence to the exact flow', () => {
  const onDdimSteps = (sampler: typeof ddim | typeof plms, counts: readonly number[]) =>
    order(counts, (count) =>
      errorOf(ddimSchedule(schedule, { steps: count }), schedule.alphasCumprod[0], (initial) =>
        sampler(denoise, schedule, { steps: count, initial }),
      ),
    );

  it('DDIM: error falls as 1 / steps', async () => {
    const found = await onDdimSteps(ddim, [20, 40]);
    expect(found.order).toBeGreaterThan(0.8);
    expect(found.order).toBeLessThan(1.3);
  });

  it('PLMS: error falls as 1 / steps², far ahead of DDIM at the same number of steps', async () => {
    const found = await onDdimSteps(plms, [25, 50, 100]);
    expect(found.order).toBeGreaterThan(1.8);
    expect(found.order).toBeLessThan(2.8);
    const { errors } = await onDdimSteps(ddim, [50]);
    expect(found.errors[1]).toBeLessThan(errors[0] / 5);
  });

  const solvers = { euler, dpmSolverPlusPlus, unipc };
  const converge = (name: keyof typeof solvers, spacing: Spacing) =>
    order([20, 40, 80], (steps) => {
      const options = { steps, spacing, end: 'first' } as const;
      // both spacings begin at the last timestep, and what 'logsnr' adds at t = 0 is a step of no length
      const timesteps = [...solverGrid(schedule, options).timesteps].filter((t) => t > 0).reverse();
      const plan = solverGrid(schedule, { ...options, timesteps });
      return errorOf(plan, alphaBars[0], (initial) =>
        solvers[name](denoise, schedule, { ...options, timesteps, initial }),
      );
    });

  it.each([
    ['euler', 'linspace', 0.8, 1.3],
    ['euler', 'logsnr', 0.8, 1.3],
    ['dpmSolverPlusPlus', 'linspace', 1.6, 2.6],
    ['dpmSolverPlusPlus', 'logsnr', 1.7, 2.5],
    ['unipc', 'linspace', 1.7, 3.8],
    ['unipc', 'logsnr', 1.9, 3.8],
  ] as const)('%s on %s: order within [%d..%d]', async (name, spacing, least, most) => {
    const found = await converge(name, spacing);
    expect(found.order).toBeGreaterThan(least);
    expect(found.order).toBeLessThan(most);
  });
});

const points = (count: number) => noise([count, 1, 1, 1], { seed: 9, dtype: 'float64' });

describe('solvers', () => {
  it.each(['linspace', 'leading', 'trailing', 'karras', 'logsnr'] as const)(
    'spacing %s: ascending within the process, the noisiest near its end',
    (spacing) => {
      const { timesteps, alphas, at } = solverGrid(schedule, { steps: 10, spacing });
      expect(timesteps).toHaveLength(10);
      expect(timesteps.every((t, i) => t >= 0 && (i === 0 || t > timesteps[i - 1]))).toBe(true);
      expect(timesteps[9]).toBeGreaterThan(899);
      timesteps.forEach((t, i) => expect(alphas[i]).toBeCloseTo(alphaBarAt(t), 12));
      expect(at(-1)).toEqual({ alpha: 1, sigma: 0, lambda: Infinity });
    },
  );

  it('steps of the published schedules', () => {
    const grid = (spacing: Spacing) => solverGrid(schedule, { steps: 5, spacing }).timesteps;
    expect(grid('linspace')).toEqual([200, 400, 599, 799, 999]);
    expect(grid('leading')).toEqual([1, 201, 401, 601, 801]);
    expect(grid('trailing')).toEqual([199, 399, 599, 799, 999]);
  });

  it('Euler takes the steps of DDIM', async () => {
    const initial = points(16);
    const table = ddimSchedule(schedule, { steps: 8 });
    const timesteps = [...table.timesteps].reverse();
    const a = await lastLatent(ddim(denoise, schedule, { steps: 8, initial }));
    const options = { steps: 8, timesteps, end: 'first', initial } as const;
    const b = await lastLatent(euler(denoise, schedule, options));
    const [expected, found] = [await values(a), await values(b)];
    found.forEach((x, i) => expect(x).toBeCloseTo(expected[i], 5));
  });

  it.each([
    ['euler', euler, 25],
    ['eulerAncestral', eulerAncestral, 100],
    ['dpmSolverPlusPlus', dpmSolverPlusPlus, 25],
    ['unipc', unipc, 25],
  ] as const)('%s draws from the mixture', async (_, sampler, steps) => {
    const count = 4000;
    const latent = await lastLatent(
      sampler(denoise, schedule, { steps, spacing: 'karras', initial: points(count), seed: 4 }),
    );
    const found = await values(latent);
    // each component's share, nearest mean
    const shares = components.map(() => 0);
    for (const x of found) {
      const distances = components.map(({ mean, deviation }) => Math.abs(x - mean) / deviation);
      shares[distances.indexOf(Math.min(...distances))] += 1 / count;
    }
    // four standard errors of a share, and what overlaps
    components.forEach(({ weight }, k) => expect(Math.abs(shares[k] - weight)).toBeLessThan(0.04));
    const mean = found.reduce((a, b) => a + b) / count;
    const expected = components.reduce((sum, each) => sum + each.weight * each.mean, 0);
    expect(Math.abs(mean - expected)).toBeLessThan(0.07);
  });

  it('refuses what is no plan', () => {
    expect(() => eulerAncestral(denoise, schedule, { steps: 5, eta: 1.2 })).toThrow(
      /eta .* Got 1.2/,
    );
    expect(() => solverGrid(schedule, { steps: 0 })).toThrow(/integer in 1..999 .* Got 0/);
    const descending = { steps: 1, timesteps: [5, 10] };
    expect(() => solverGrid(schedule, descending)).toThrow(/must descend within \[0, 999\]/);
    // These two leave out timestep 0.
    for (const spacing of ['linspace', 'leading'] as const)
      expect(() => solverGrid(schedule, { steps: 1000, spacing })).toThrow(
        /integer in 1..999 for spacing '\w+'. Got 1000/,
      );
    for (const spacing of ['trailing', 'karras', 'logsnr'] as const)
      expect(solverGrid(schedule, { steps: 1000, spacing }).timesteps).toHaveLength(1000);
  });
});

describe('image to image', () => {
  const latent = tensor([0.3, -0.8], { shape: [2, 1, 1, 1], dtype: 'float64' });

  it('strength 0 gives the picture back, and no step runs', async () => {
    const never: Denoiser = () => {
      throw new Error('no step should run');
    };
    const image = { latent, strength: 0 };
    const result = await lastLatent(ddim(never, schedule, { steps: 10, image, seed: 1 }));
    expect(await values(result)).toEqual([0.3, -0.8]);
  });

  it('noises the picture to one step above the first that runs', async () => {
    const table = ddimSchedule(schedule, { steps: 10 });
    const seen: { x: number[]; t: number }[] = [];
    const watch: Denoiser = (x, t) => {
      seen.push({ x: [...(x.dataSync() as Float64Array)], t: Number(t.dataSync()[0]) });
      return denoise(x, t);
    };
    const image = { latent, strength: 0.45 };
    await lastLatent(ddim(watch, schedule, { steps: 10, image, seed: 7 }));
    expect(seen.map(({ t }) => t)).toEqual([301, 201, 101, 1]);
    const eps = await values(noise([2, 1, 1, 1], { seed: 7, dtype: 'float64' }));
    const alphaBar = table.alphas[4];
    seen[0].x.forEach((x, i) => {
      const expected = [0.3, -0.8][i] * Math.sqrt(alphaBar) + eps[i] * Math.sqrt(1 - alphaBar);
      expect(x).toBeCloseTo(expected, 6);
    });
  });

  it('takes as many steps of those that were asked for, where the table holds more', async () => {
    const image = { latent, strength: 0.5 };
    let steps = 0;
    // 1000 timesteps, every 142nd of them: 8
    const run = ddim(denoise, schedule, { steps: 7, image, seed: 1 });
    await lastLatent(run, () => void steps++);
    expect(steps).toBe(3);
  });

  it.each([ddpm, plms, euler, eulerAncestral, dpmSolverPlusPlus, unipc])(
    'works with $name, nearer to the picture the weaker it is',
    async (sampler) => {
      const picture = tensor(new Float64Array(64).fill(0.4), { shape: [64, 1, 1, 1] });
      const distance = async (strength: number) => {
        const options = { image: { latent: picture, strength }, seed: 5 };
        const run =
          sampler === ddpm
            ? ddpm(denoise, diffusion, options)
            : (sampler as typeof euler)(denoise, schedule, { ...options, steps: 20 });
        const found = await values(await lastLatent(run));
        return found.reduce((sum, x) => sum + Math.abs(x - 0.4), 0) / found.length;
      };
      expect(await distance(0.1)).toBeLessThan((await distance(1)) / 2);
    },
  );

  it('refuses a strength above 1', async () => {
    const image = { latent, strength: 1.5 };
    const run = lastLatent(ddim(denoise, schedule, { steps: 10, image, seed: 1 }));
    await expect(run).rejects.toThrow(/strength .* \[0, 1\]. Got 1.5/);
  });
});

describe('the noise of a step', () => {
  const still: Denoiser = (x) => x.mul(0);
  // With ε = 0 and one step all of the change is the step's noise.
  const added = async (options: Partial<DdimOptions>, shape: number[]) => {
    const run = { steps: 1, eta: 1, initial: noise(shape, { seed: 1 }).mul(0), seed: 2 };
    return values(await lastLatent(ddim(still, schedule, { ...run, ...options })));
  };

  it('is one for the whole batch with repeatNoise', async () => {
    const each = await added({ repeatNoise: true }, [2, 1, 1, 3]);
    expect(each.slice(0, 3)).toEqual(each.slice(3));
    const own = await added({}, [2, 1, 1, 3]);
    expect(own.slice(0, 3)).not.toEqual(own.slice(3));
  });

  it('loses elements with noiseDropout, and the others grow', async () => {
    const [whole, dropped] = [
      await added({}, [1, 1, 1, 4000]),
      await added({ noiseDropout: 0.25 }, [1, 1, 1, 4000]),
    ];
    const gone = dropped.filter((x) => x === 0).length;
    expect(gone).toBeGreaterThan(850);
    expect(gone).toBeLessThan(1150);
    dropped.forEach((x, i) => {
      if (x !== 0) expect(x / whole[i]).toBeCloseTo(4 / 3, 4);
    });
  });

  it('has one seed, where it is one for the whole batch', async () => {
    const run = added({ repeatNoise: true, seed: [2, 3] }, [2, 1, 1, 3]);
    await expect(run).rejects.toThrow(/repeatNoise .* one seed\. Got 2/);
  });

  it('scales with temperature', async () => {
    const [one, half] = [
      await added({}, [1, 1, 1, 8]),
      await added({ temperature: 0.5 }, [1, 1, 1, 8]),
    ];
    half.forEach((x, i) => expect(x).toBeCloseTo(one[i] / 2, 6));
  });

  it('estimates pass through quantizeX0', async () => {
    const quantizeX0 = (x0: Tensor) => x0.mul(0).add(0.5);
    for await (const { predX0 } of ddim(denoise, schedule, {
      steps: 3,
      initial: points(2),
      quantizeX0,
    }))
      expect([...(predX0.dataSync() as Float64Array)]).toEqual([0.5, 0.5]);
  });
});

it('PLMS puts each estimate through quantizeX0 once', async () => {
  let calls = 0;
  const quantizeX0 = (x0: Tensor) => (++calls, x0);
  await lastLatent(plms(denoise, schedule, { steps: 4, initial: points(2), quantizeX0 }));
  // Those of the four steps, and of the tentative one in the first.
  expect(calls).toBe(5);
});

describe('classifier guidance', () => {
  const labels = tensor(BigInt64Array.of(0n, 1n, 2n, 2n));
  const classifier = (x: Tensor, t: Tensor) => classLogits(x, alphaBarAt(Number(t.dataSync()[0])));
  const at = (t: number) =>
    Number.isInteger(t)
      ? tensor(new BigInt64Array(4).fill(BigInt(t)))
      : tensor(new Float32Array(4).fill(t));

  it.each([0.25, 10, 300, 300.5, 900])(
    'with scale 1 and the exact classifier at t = %f it is the class itself',
    async (t) => {
      const x = points(4);
      const guide = { classifier, labels, scale: 1, schedule };
      const found = await values(
        tidy(() => noGrad(() => classifierGuided(denoise, guide)(x, at(t)))),
      );
      for (let i = 0; i < 4; ++i) {
        const component = components[[0, 1, 2, 2][i]];
        const one = componentNoise(component, x.narrow(0, i, 1), alphaBarAt(t));
        expect(found[i]).toBeCloseTo((await values(one))[0], 5);
      }
    },
  );

  it('samples the class that is asked for', async () => {
    const guided = classifierGuided(denoise, { classifier, labels, scale: 2, schedule });
    const found = await values(
      await lastLatent(ddim(guided, schedule, { steps: 20, initial: points(4) })),
    );
    [0, 1, 2, 2].forEach((k, i) => {
      expect(Math.abs(found[i] - components[k].mean)).toBeLessThan(3 * components[k].deviation);
    });
  });
});
