// Every optimizer step on every device: the numbers of the CPU, to float32's rounding.
import { expect, test } from 'vitest';
import {
  Adam,
  AdamW,
  Ema,
  Generator,
  Muon,
  SGD,
  clipGradNorm,
  device,
  gradNorm,
  scaleGradients,
  select,
  tensor,
  type Device,
  type DType,
  type Tensor,
} from '../../lib/index.js';
import { availableDevices } from '../support/devices.js';
import { expectClose } from '../support/expect_close.js';

const others = availableDevices.filter(({ name }) => name !== 'cpu');
// Named after the devices, by which runs select their tests.
const named = others.map(({ name }) => name).join(' and ') || 'another device';
const onDevice = (name: string, body: () => Promise<void>): void =>
  test.skipIf(others.length === 0)(`${name} on ${named}`, body);
const numbers = async (x: Tensor): Promise<number[]> => Array.from(await x.data(), Number);

// Nothing, one, less than a vector, a rest, more than a block takes, more tensors than a launch takes.
const shapes = [
  [0],
  [1],
  [3],
  [],
  [37],
  [16, 24],
  [8197],
  [3, 5461],
  ...new Array(90).fill([2, 5]),
];
// The same bits on every device.
const values = (shapes: number[][], seed: number, dtype: DType, on: Device): Tensor[] => {
  const generator = new Generator(seed);
  return shapes.map((shape) => generator.normal(shape, { dtype, device: on }));
};

type Run = (on: Device) => Tensor[] | Promise<Tensor[]>;

async function agree(run: Run, label: string) {
  const read = async (on: Device) => {
    const results = await run(on);
    return Promise.all(results.map(async (x) => ({ values: await numbers(x), dtype: x.dtype })));
  };
  const expected = await read(device('cpu'));
  for (const other of others)
    (await read(other)).forEach(({ values, dtype }, i) =>
      expectClose(values, expected[i].values, { dtype, slack: 2, what: `${label}, tensor ${i}` }),
    );
}

const optimizers = {
  Adam: (params: Tensor[]) => new Adam(params, { lr: 0.01, weightDecay: 0.1 }),
  AdamW: (params: Tensor[]) =>
    new AdamW(params, { lr: 0.01, betas: [0.8, 0.99], weightDecay: 0.3 }),
  SGD: (params: Tensor[]) => new SGD(params, { lr: 0.1, weightDecay: 0.01 }),
  'SGD with momentum': (params: Tensor[]) => new SGD(params, { lr: 0.1, momentum: 0.9 }),
  'SGD with Nesterov': (params: Tensor[]) =>
    new SGD(params, { lr: 0.1, momentum: 0.9, weightDecay: 0.1, nesterov: true }),
};
const kinds: [param: DType, grad: DType][] = [
  ['float32', 'float32'],
  ['bfloat16', 'bfloat16'],
  ['bfloat16', 'float32'],
  ['float16', 'float16'],
  ['float16', 'float32'],
];

for (const [name, make] of Object.entries(optimizers))
  onDevice(`${name} steps alike`, async () => {
    for (const [dtype, gradient] of kinds)
      await agree((on) => {
        const params = values(shapes, 1, dtype, on);
        // Lists of mixed dtypes, and views that begin between vectors.
        params.push(...values([[7], [5000]], 2, 'float32', on));
        params.push(select(values([[2, 1003]], 3, dtype, on)[0], 0, 1));
        const optimizer = make(params);
        for (let step = 0; step < 3; ++step) {
          const fresh = values(
            params.map(({ shape }) => [...shape]),
            10 + step,
            gradient,
            on,
          );
          params.forEach((param, i) => {
            param.grad = param.dtype === 'float32' ? fresh[i].to('float32') : fresh[i];
          });
          optimizer.step(step === 1 ? { gradScale: tensor([0.5], { device: on }) } : {});
        }
        return [...params, ...Object.values(optimizer.stateDict().tensors)];
      }, `${name}, ${dtype} and ${gradient}`);
  });

onDevice('averages move alike', async () => {
  for (const dtype of ['float32', 'bfloat16', 'float16'] as const)
    await agree((on) => {
      const params = values(shapes, 1, dtype, on);
      const ema = new Ema(
        params.map((param, i) => [`p${i}`, param] as const),
        { decay: 0.7, useNumUpdates: false },
      );
      const optimizer = new SGD(params, { lr: 1 });
      params.forEach((param) => (param.grad = param));
      optimizer.step();
      ema.update();
      const { decay: _, num_updates: __, ...shadows } = ema.stateDict();
      return Object.values(shadows);
    }, dtype);
});

onDevice('norms, clipping and scaling agree', async () => {
  for (const dtype of ['float32', 'bfloat16', 'float16'] as const)
    for (const limit of [1, 1e6])
      await agree((on) => {
        const params = values(shapes, 1, dtype, on);
        values(shapes, 2, dtype, on).forEach((grad, i) => (params[i].grad = grad));
        const norms = [gradNorm(params), clipGradNorm(params, limit)];
        scaleGradients(params, 3);
        scaleGradients(params, tensor([0.25], { device: on }));
        return [...norms, gradNorm(params), ...params.map((param) => param.grad!)];
      }, `${dtype}, at most ${limit}`);
});

onDevice('a norm of NaN reaches every gradient', async () => {
  for (const other of others) {
    const params = values([[4], [9]], 1, 'float32', other);
    params.forEach(
      (param) => (param.grad = tensor(new Float32Array(param.numel), { device: other })),
    );
    params[0].grad = tensor([1, NaN, 2, 3], { device: other });
    expect(await clipGradNorm(params, 1).item()).toBeNaN();
    expect(await numbers(params[1].grad!)).toEqual(new Array(9).fill(NaN));
  }
});

// Alone and in a batch of equals, wide and tall, more than two axes, nothing.
const matrices = [
  [1, 1],
  [4, 6],
  [20, 7],
  [4, 6],
  [7, 20],
  [9, 3, 2],
  [0, 3],
  [16, 16],
  [4, 6],
];

onDevice('Muon steps alike', async () => {
  for (const [i, [dtype, gradient]] of kinds.entries())
    await agree((on) => {
      const params = values(matrices, 1, dtype, on);
      const optimizer = new Muon(params, {
        lr: 0.1,
        nesterov: i !== 1,
        adjustLr: i === 2 ? 'matchRmsAdamw' : 'original',
        nsSteps: i === 0 ? 5 : i - 1,
      });
      for (let step = 0; step < 2; ++step) {
        values(matrices, 10 + step, gradient, on).forEach((grad, i) => (params[i].grad = grad));
        optimizer.step(step === 1 ? { gradScale: tensor([0.5], { device: on }) } : {});
      }
      return [...params, ...Object.values(optimizer.stateDict().tensors)];
    }, `Muon, ${dtype} and ${gradient}`);
});
