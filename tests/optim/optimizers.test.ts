import { expect, test } from 'vitest';
import {
  Adam,
  AdamW,
  Ema,
  LambdaLR,
  LambdaLinearScheduler,
  LambdaWarmUpCosineScheduler,
  LambdaWarmUpCosineScheduler2,
  Linear,
  Muon,
  SGD,
  clipGradNorm,
  clipScale,
  constant_,
  gradNorm,
  readSafetensors,
  scaleGradients,
  tensor,
  type AdamOptions,
  type DType,
  type Schedule,
  type Tensor,
} from '../../lib/index.js';
import { golden } from '../io/temporary.js';

const leaf = (values: number[], dtype: DType = 'float32'): Tensor =>
  tensor(values, { dtype, requiresGrad: true });
const numbers = async (x: Tensor): Promise<number[]> => Array.from(await x.data(), Number);

function expectNear(
  actual: readonly number[],
  expected: readonly number[],
  tolerance: number,
  what = '',
) {
  const scale = Math.max(...expected.map(Math.abs));
  expect(actual.length).toBe(expected.length);
  actual.forEach((value, i) =>
    expect(
      Math.abs(value - expected[i]),
      `${what} element ${i}: ${value}, expected ${expected[i]}`,
    ).toBeLessThanOrEqual(tolerance * scale),
  );
}

test('Adam and AdamW take the steps of the golden runs', async () => {
  const file = await readSafetensors(golden('ops/adam.safetensors'));
  const cases = JSON.parse(file.metadata.get('cases')!) as Record<
    string,
    { args: Record<string, never> }
  >;
  for (const [name, { args }] of Object.entries(cases)) {
    const { kind, lr, betas, eps, weight_decay } = args;
    const read = async (key: string) => numbers(await file.get(`${name}/${key}`));
    const [gradients, p, m, v] = [
      await read('in.g'),
      await read('out.p'),
      await read('out.m'),
      await read('out.v'),
    ];
    const row = (values: number[], step: number) => values.slice(step * 37, (step + 1) * 37);
    // The file's in.p was taken after the last step: the run starts from the stored state after the first.
    const param = leaf(row(p, 0));
    const Kind = kind === 'AdamW' ? AdamW : Adam;
    const optimizer = new Kind([param], {
      lr,
      betas,
      eps,
      weightDecay: weight_decay,
    } as Partial<AdamOptions>);
    const tensors = { 'exp_avg.0': tensor(row(m, 0)), 'exp_avg_sq.0': tensor(row(v, 0)) };
    optimizer.loadStateDict({ ...optimizer.stateDict(), tensors, steps: [1] });
    for (let step = 1; step < 5; ++step) {
      param.grad = tensor(row(gradients, step));
      optimizer.step();
      const state = optimizer.stateDict().tensors;
      expectNear(await numbers(param), row(p, step), 3e-6, `${name} p`);
      expectNear(await numbers(state['exp_avg.0']), row(m, step), 3e-6, `${name} m`);
      expectNear(await numbers(state['exp_avg_sq.0']), row(v, step), 3e-6, `${name} v`);
    }
  }
});

test('the first steps of Adam and AdamW by hand', async () => {
  for (const Kind of [Adam, AdamW]) {
    const param = leaf([1, -2, 3]);
    const optimizer = new Kind([param], {
      lr: 0.1,
      betas: [0.8, 0.9],
      eps: 1e-3,
      weightDecay: 0.5,
    });
    const expected = [1, -2, 3];
    const m = [0, 0, 0];
    const v = [0, 0, 0];
    for (let step = 1; step <= 2; ++step) {
      param.grad = tensor([0.5, -1, step]);
      optimizer.step();
      [0.5, -1, step].forEach((gradient, i) => {
        const g = Kind === Adam ? gradient + 0.5 * expected[i] : gradient;
        if (Kind === AdamW) expected[i] *= 1 - 0.1 * 0.5;
        m[i] = 0.8 * m[i] + 0.2 * g;
        v[i] = 0.9 * v[i] + 0.1 * g * g;
        expected[i] -=
          (0.1 * (m[i] / (1 - 0.8 ** step))) / (Math.sqrt(v[i] / (1 - 0.9 ** step)) + 1e-3);
      });
    }
    expectNear(await numbers(param), expected, 1e-6);
  }
});

test('SGD: momentum, Nesterov and weight decay by hand', async () => {
  for (const nesterov of [false, true]) {
    const param = leaf([1, -2, 3]);
    const optimizer = new SGD([param], { lr: 0.1, momentum: 0.9, weightDecay: 0.01, nesterov });
    const expected = [1, -2, 3];
    const velocity = [0, 0, 0];
    for (let step = 0; step < 3; ++step) {
      const gradient = [0.5, -1, step];
      param.grad = tensor(gradient);
      optimizer.step();
      expected.forEach((p, i) => {
        const g = gradient[i] + 0.01 * p;
        velocity[i] = 0.9 * velocity[i] + g;
        expected[i] = p - 0.1 * (nesterov ? g + 0.9 * velocity[i] : velocity[i]);
      });
    }
    expectNear(await numbers(param), expected, 1e-6);
  }
});

test('groups override options, and parameters without a gradient stay', async () => {
  const [a, b, c] = [leaf([1]), leaf([1]), leaf([1])];
  const optimizer = new SGD([{ params: [a], lr: 0.5 }, { params: [b, c] }], { lr: 0.25 });
  a.grad = tensor([1]);
  b.grad = tensor([1]);
  optimizer.step();
  expect([await a.item(), await b.item(), await c.item()]).toEqual([0.5, 0.75, 1]);
  optimizer.zeroGrad();
  expect(a.grad).toBeNull();
});

test('bfloat16 parameters move by steps that bfloat16 alone would lose', async () => {
  const param = leaf([1, 1], 'bfloat16');
  const optimizer = new SGD([param], { lr: 1 });
  for (let step = 0; step < 64; ++step) {
    param.grad = tensor([2 ** -12, 0], { dtype: 'bfloat16' });
    optimizer.step();
  }
  expect(await numbers(param)).toEqual([1 - 64 * 2 ** -12, 1]);
  expect(await numbers(optimizer.stateDict().tensors['master.0'])).toEqual([1 - 64 * 2 ** -12, 1]);
});

test('masters follow what others write to 16-bit parameters, and keep their digits otherwise', async () => {
  const layer = new Linear(2, 1, { dtype: 'bfloat16', bias: false });
  const { weight } = layer;
  const ema = new Ema(layer.namedParameters()); // of the weights' random start
  constant_(weight, 1);
  const optimizer = new SGD(layer.parameters(), { lr: 2 ** -12 });
  const step = async (): Promise<number[]> => {
    optimizer.zeroGrad();
    layer
      .forward(tensor([[1, 1]], { dtype: 'bfloat16' }))
      .sum()
      .backward();
    optimizer.step();
    return numbers(optimizer.stateDict().tensors['master.0']);
  };
  expect(await step()).toEqual([1 - 2 ** -12, 1 - 2 ** -12]);
  ema.scope(() => undefined);
  expect(await step()).toEqual([1 - 2 ** -11, 1 - 2 ** -11]);
  layer.loadStateDict({ weight: tensor([[7, 1]], { dtype: 'bfloat16' }) });
  expect(await step()).toEqual([7 - 2 ** -12, 1 - 3 * 2 ** -12]);
  expect(await numbers(weight)).toEqual([7, 1]);
  ema.dispose();
});

test('gradScale multiplies the gradients of a step', async () => {
  const param = leaf([1]);
  param.grad = tensor([8]);
  new SGD([param], { lr: 1 }).step({ gradScale: tensor([0.25]) });
  expect(await param.item()).toBe(-1);
});

test('a saved optimizer goes on bit for bit', async () => {
  const run = (param: Tensor, optimizer: Adam, from: number, to: number) => {
    for (let step = from; step < to; ++step) {
      param.grad = tensor([Math.sin(step), Math.cos(step), 0.1]);
      optimizer.step();
    }
  };
  const whole = leaf([1, 2, 3]);
  run(whole, new Adam([whole], { lr: 0.01 }), 0, 7);

  const first = leaf([1, 2, 3]);
  const before = new Adam([first], { lr: 0.01 });
  run(first, before, 0, 4);
  const second = leaf(await numbers(first));
  const after = new Adam([second], { lr: 1 });
  after.loadStateDict(before.stateDict());
  expect(after.groups[0].lr).toBe(0.01);
  run(second, after, 4, 7);
  expect(await numbers(second)).toEqual(await numbers(whole));
});

test('refuses states of other models and impossible options', () => {
  const state = new Adam([leaf([1])]).stateDict();
  expect(() => new Adam([leaf([1]), leaf([2])]).loadStateDict(state)).toThrow(
    /1 parameters in 1 groups.*has 2 in 1/,
  );
  const foreign = { ...state, tensors: { 'exp_avg.0': tensor([1, 2]) } };
  expect(() => new Adam([leaf([1])]).loadStateDict(foreign)).toThrow(
    /exp_avg.0 is \[2\], its parameter \[1\]/,
  );
  const unknown = { ...state, tensors: { 'exp_avg.7': tensor([1]) } };
  expect(() => new Adam([leaf([1])]).loadStateDict(unknown)).toThrow(
    /unexpected entry 'exp_avg.7'/,
  );
  expect(() => new Adam([])).toThrow(/no parameters/);
  const twice = leaf([1]);
  expect(() => new Adam([twice, twice])).toThrow(/given twice/);
  expect(() => new Adam([leaf([1])], { betas: [0.9, 1] })).toThrow(/betas in \[0, 1\)/);
  expect(() => new SGD([leaf([1])], { lr: 1, nesterov: true })).toThrow(/momentum above 0/);
});

test('gradient norm and clipping cover all parameters together', async () => {
  const params = [leaf([0, 0]), leaf([0]), leaf([0])];
  params[0].grad = tensor([3, 0]);
  params[1].grad = tensor([-4]);
  expect(await gradNorm(params).item()).toBe(5);
  expect(await clipGradNorm(params, 10).item()).toBe(5);
  expect(await numbers(params[0].grad)).toEqual([3, 0]);
  expect(await clipGradNorm(params, 1).item()).toBe(5);
  expectNear(await numbers(params[0].grad), [0.6, 0], 1e-6);
  expectNear(await numbers(params[1].grad), [-0.8], 1e-6);
  scaleGradients(params, 0.5);
  scaleGradients(params, tensor([2]));
  expectNear(await numbers(params[1].grad), [-0.8], 1e-6);
  params[1].grad = tensor([NaN]);
  expect(await clipGradNorm(params, 1).item()).toBeNaN();
});

test('a step clips as clipping before it does', async () => {
  for (const [name, make] of [
    ['AdamW', (params: Tensor[]) => new AdamW(params, { lr: 0.1 })],
    ['SGD', (params: Tensor[]) => new SGD(params, { lr: 0.1, momentum: 0.9 })],
    ['Muon', (params: Tensor[]) => new Muon(params, { lr: 0.1 })],
  ] as const)
    for (const maxNorm of [1, 10]) {
      const [inPlace, inStep] = [1, 2].map(() => leaf([1, 2, 3, 4]).reshape([2, 2]).detach());
      const [first, second] = [inPlace, inStep].map((param) => make([param]));
      for (const gradient of [
        [3, 0, 4, 0],
        [0, -6, 0, 8],
      ]) {
        for (const param of [inPlace, inStep]) param.grad = tensor(gradient).reshape([2, 2]);
        clipGradNorm([inPlace], maxNorm);
        first.step();
        const norm = gradNorm([inStep]);
        second.step({ gradScale: clipScale(norm, maxNorm) });
        expect(await numbers(inStep.grad!), name).toEqual(gradient);
        expectNear(await numbers(inStep), await numbers(inPlace), 1e-6);
      }
    }
});

test('the scale that clips is 1 below the norm, and NaN where the norm is', async () => {
  expect(await clipScale(tensor([4]), 8).item()).toBe(1);
  expect(await clipScale(tensor([4]), 1).item()).toBeCloseTo(0.25, 6);
  expect(await clipScale(tensor([Infinity]), 1).item()).toBe(0);
  expect(await clipScale(tensor([NaN]), 1).item()).toBeNaN();
  expect(() => clipScale(tensor([4]), 0)).toThrow(/clipScale: maxNorm must be above 0, got 0/);
  expect(() => clipGradNorm([leaf([1])], 0)).toThrow(/clipGradNorm: maxNorm must be above 0/);
});

test('schedules give the golden multipliers and hold the last one', async () => {
  const file = await readSafetensors(golden('train/lr_schedules.safetensors'));
  const kinds: Record<string, new (options: never) => Schedule> = {
    LambdaWarmUpCosineScheduler,
    LambdaWarmUpCosineScheduler2,
    LambdaLinearScheduler,
  };
  const cases = JSON.parse(file.metadata.get('cases')!) as Record<
    string,
    { args: { cls: string } }
  >;
  for (const [name, { args }] of Object.entries(cases)) {
    const { cls, ...options } = args;
    const schedule = new kinds[cls](options as never);
    const steps = await numbers(await file.get(`${name}/in.n`));
    const expected = await numbers(await file.get(`${name}/out.multiplier`));
    steps.forEach((n, i) =>
      expect(schedule.schedule(n), `${name} at ${n}`).toBeCloseTo(expected[i], 12),
    );
  }
  const cycles = {
    warm_up_steps: [1],
    f_min: [0.1],
    f_max: [1],
    f_start: [0],
    cycle_lengths: [10],
  };
  for (const Kind of [LambdaLinearScheduler, LambdaWarmUpCosineScheduler2])
    expect(new Kind(cycles).schedule(1000)).toBeCloseTo(0.1, 12);
  expect(() => new LambdaLinearScheduler({ ...cycles, f_min: [] })).toThrow(
    /one entry for each of the 1 cycles/,
  );
});

test('LambdaLR scales every group and resumes', () => {
  const optimizer = new SGD([{ params: [leaf([1])], lr: 2 }, { params: [leaf([1])] }], { lr: 1 });
  const scheduler = new LambdaLR(optimizer, (n) => 1 / (n + 1));
  expect(scheduler.lastLr).toEqual([2, 1]);
  scheduler.step();
  expect(scheduler.lastLr).toEqual([1, 0.5]);
  const state = scheduler.stateDict();
  scheduler.step();
  scheduler.loadStateDict(state);
  expect(scheduler.lastLr).toEqual([1, 0.5]);
});
