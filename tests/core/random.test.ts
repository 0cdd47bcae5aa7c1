import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import {
  Generator,
  TorchGenerator,
  checkpoint,
  device,
  dropout,
  engineInfo,
  manualSeed,
  noise,
  ones,
  onesLike,
  rand,
  randint,
  randn,
  readSafetensors,
  type Device,
  type Tensor,
} from '../../lib/index.js';
import { golden } from '../io/temporary.js';
import { availableDevices } from '../support/devices.js';

const numbers = async (x: Tensor): Promise<number[]> => Array.from(await x.data(), Number);

test('normals and uniforms have the moments of their distributions', async () => {
  const n = 1 << 17;
  const moments = (values: number[]) => {
    const mean = values.reduce((a, b) => a + b, 0) / n;
    const central = (power: number) => values.reduce((sum, x) => sum + (x - mean) ** power, 0) / n;
    return [mean, central(2), central(3), central(4)];
  };
  const normal = moments(await numbers(new Generator(1).normal([2, n / 2])));
  [0, 1, 0, 3].forEach((expected, i) => expect(Math.abs(normal[i] - expected)).toBeLessThan(0.08));
  const uniform = moments(await numbers(new Generator(1).uniform([2, n / 2])));
  [1 / 2, 1 / 12, 0, 1 / 80].forEach((expected, i) =>
    expect(Math.abs(uniform[i] - expected)).toBeLessThan(0.005),
  );
});

test('values: one fixed sequence, for ever', async () => {
  // Whoever changes these numbers changes every picture that a seed has ever made.
  const values = await numbers(new Generator(42, { stream: 3 }).normal([2, 5]));
  expect(values.map((x) => Number(x.toFixed(4)))).toMatchInlineSnapshot(`
    [
      -0.9315,
      -0.1027,
      -0.6043,
      -1.4096,
      -0.5672,
      -0.1713,
      0.5191,
      -1.8062,
      -1.0609,
      -1.585,
    ]
  `);
});

test('a sample does not depend on its batch', async () => {
  const together = await numbers(noise([3, 7, 5], { seed: 9, step: 4 }));
  for (const sample of [0, 1, 2]) {
    const alone = await numbers(noise([1, 7, 5], { seed: 9, step: 4, sampleIds: [sample] }));
    expect(alone).toEqual(together.slice(sample * 35, (sample + 1) * 35));
  }
  const ownSeeds = await numbers(noise([2, 35], { seed: [11, 9], step: 4 }));
  expect(ownSeeds.slice(35)).toEqual(together.slice(0, 35));
  expect(ownSeeds.slice(0, 35)).not.toEqual(together.slice(0, 35));
  // A longer row begins with the shorter one.
  expect((await numbers(noise([1, 100], { seed: 9, step: 4 }))).slice(0, 35)).toEqual(
    together.slice(0, 35),
  );
});

test('16-bit noise is the rounded float32 noise', async () => {
  const exact = await numbers(noise([2, 40], { seed: 1 }));
  const rounded = await numbers(noise([2, 40], { seed: 1, dtype: 'bfloat16' }));
  rounded.forEach((value, i) =>
    expect(Math.abs(value - exact[i])).toBeLessThanOrEqual(Math.abs(exact[i]) / 256),
  );
});

test('calls differ, streams differ, states resume', async () => {
  const generator = new Generator(5);
  const first = await numbers(generator.normal([1, 8]));
  const state = generator.state();
  const second = await numbers(generator.normal([1, 8]));
  expect(second).not.toEqual(first);
  expect(await numbers(new Generator(5, { stream: 1 }).normal([1, 8]))).not.toEqual(first);
  generator.setState(JSON.parse(JSON.stringify(state)));
  expect(await numbers(generator.normal([1, 8]))).toEqual(second);
  manualSeed(5);
  expect(await numbers(randn([1, 8]))).toEqual(first);
});

test('integers stay in range, reach every value and permutations are permutations', async () => {
  const drawn = await numbers(randint(-2, 3, [1000], { generator: new Generator(3) }));
  expect([...new Set(drawn)].sort((a, b) => a - b)).toEqual([-2, -1, 0, 1, 2]);
  const order = await numbers(new Generator(3).permutation(101));
  expect([...order].sort((a, b) => a - b)).toEqual(order.map((_, i) => i));
  expect(order).not.toEqual(order.map((_, i) => i));
  const coins = await numbers(new Generator(3).bernoulli(0.25, [4000]));
  expect(Math.abs(coins.reduce((a, b) => a + b, 0) / 4000 - 0.25)).toBeLessThan(0.03);
  const uniforms = await numbers(rand([4, 1000]));
  expect(uniforms.every((u) => u >= 0 && u < 1)).toBe(true);
});

test.each(['float16', 'bfloat16', 'float32', 'float64'] as const)(
  'uniform numbers of %s stay below the end that rounding would reach',
  async (dtype) => {
    const generator = new Generator(3);
    for (const [low, high] of [
      [0, 1],
      [1, 2],
      [-3, -1],
    ] as const) {
      const drawn = await numbers(generator.uniform([20000], { low, high, dtype }));
      expect(drawn.every((u) => u >= low && u < high)).toBe(true);
      const mean = drawn.reduce((a, b) => a + b, 0) / drawn.length;
      expect(Math.abs(mean - (low + high) / 2)).toBeLessThan(0.02 * (high - low));
    }
  },
);

test('empty shapes and wrong arguments', async () => {
  expect(await numbers(randn([0, 3]))).toEqual([]);
  expect(randn([]).shape).toEqual([]);
  expect(() => new Generator(0.5)).toThrow(/seed must be a safe integer/);
  expect(() => new Generator(1, { stream: 2 ** 32 })).toThrow(/stream/);
  expect(() => noise([2, 2], { seed: [1] })).toThrow(/expected 2 seeds, one per sample, got 1/);
  expect(() => noise([1], { seed: 1, sampleIds: [-1] })).toThrow(/sampleIds/);
  expect(() => new Generator(1).integers(3, 3, [1])).toThrow(/low < high/);
  const uniform = (low: number, high: number) => new Generator(1).uniform([1], { low, high });
  expect(() => uniform(2, 1)).toThrow(/low <= high, got 2 and 1/);
  expect(() => uniform(0, NaN)).toThrow(/got 0 and NaN/);
});

test('every instruction-set level and thread count gives the same bits', () => {
  const program = `
    import { createHash } from 'node:crypto';
    import { noise } from './lib/index.ts';
    const data = noise([3, 10007], { seed: 77 }).dataSync();
    console.log(createHash('sha256').update(new Uint8Array(data.buffer)).digest('hex'));`;
  const own = noise([3, 10007], { seed: 77 }).dataSync();
  const expected = createHash('sha256').update(new Uint8Array(own.buffer)).digest('hex');
  const { level: highest, levels } = engineInfo();
  for (const level of levels.slice(0, levels.indexOf(highest) + 1))
    for (const threads of ['1', '3']) {
      const env = { ...process.env, EMULSION_CPU_LEVEL: level, EMULSION_NUM_THREADS: threads };
      const args = ['--import', './scripts/typescript.mjs', '--input-type=module', '-e', program];
      const out = execFileSync('node', args, { env, encoding: 'utf8' });
      expect(out.trim(), `${level}, ${threads} threads`).toBe(expected);
    }
});

// Rows of whole and of broken blocks, one row, scalars, long rows, samples and seeds of their own.
const shapes = [[], [1], [7], [4, 64], [3, 37], [5, 1], [2, 3001], [0, 3]];
const others = availableDevices.filter(({ name }) => name !== 'cpu');
const onDevice = test.skipIf(others.length === 0);
const draw = onDevice.for(
  (['float32', 'bfloat16', 'float16', 'int32', 'int64', 'uint8', 'bool'] as const).flatMap(
    (dtype) => others.map((device) => [dtype, device] as const),
  ),
);

draw('%s on %s has the bits of the CPU', async ([dtype, other]) => {
  const floating = dtype.includes('float');
  const all = (on: Device) => {
    const generator = new Generator(2 ** 40 + 5, { stream: 9 });
    const options = { dtype, device: on };
    return shapes.flatMap((shape) => {
      const ids = Array.from({ length: shape[0] ?? 1 }, (_, i) => (i * 2 ** 31) % (2 ** 32 - 1));
      const results = [
        generator.bernoulli(0.3, shape, options),
        generator.bernoulli(0.7, shape, { ...options, sampleIds: ids }),
      ];
      if (dtype !== 'bool')
        results.push(
          generator.integers(dtype === 'uint8' ? 0 : -100, 111, shape, options),
          generator.integers(0, dtype === 'int64' ? 2 ** 53 - 1 : 128, shape, options),
        );
      if (floating)
        results.push(
          generator.normal(shape, options),
          generator.normal(shape, { ...options, mean: -3, std: 0.1, sampleIds: ids }),
          noise(shape, { ...options, seed: ids.map((id) => id - 77), step: 2 ** 32 - 1 }),
          generator.uniform(shape, { ...options, low: -2, high: 5 }),
          dropout(noise(shape, { ...options, seed: 1 }), 0.4, { generator }),
        );
      return results;
    });
  };
  const expected = all(device('cpu'));
  const actual = all(other);
  for (const [i, result] of actual.entries())
    expect(await numbers(result), `draw ${i}`).toEqual(await numbers(expected[i]));
});

onDevice("permutations of other devices are the CPU's", async () => {
  for (const other of others)
    for (const count of [0, 1, 2, 1000]) {
      const own = new Generator(3, { stream: 1 }).permutation(count, { device: other });
      const expected = new Generator(3, { stream: 1 }).permutation(count, { device: 'cpu' });
      expect(await numbers(own)).toEqual(await numbers(expected));
    }
});

test('TorchGenerator draws what torch.manual_seed(0) gives', async () => {
  const file = await readSafetensors(golden('ops/torch_rng.safetensors'));
  const read = async (key: string) => numbers(await file.get(`out.${key}`));
  const near = (actual: number[], expected: number[]) => {
    expect(actual.length).toBe(expected.length);
    actual.forEach((value, i) =>
      expect(Math.abs(value - expected[i])).toBeLessThanOrEqual(
        1e-6 * Math.max(1, Math.abs(value)),
      ),
    );
  };
  const fresh = () => new TorchGenerator(0);

  const words = fresh();
  expect(Array.from({ length: 20 }, () => words.word())).toEqual(await read('mt19937_words_20'));
  expect(await numbers(fresh().rand([10]))).toEqual(await read('rand_10'));
  expect(await numbers(fresh().rand([6], { dtype: 'float64' }))).toEqual(await read('rand_f64_6'));
  expect(await numbers(fresh().randint(0, 1000, [16]))).toEqual(await read('randint1000_16'));
  for (const count of [5, 15, 16, 17, 20, 31, 32, 33, 4096])
    near(await numbers(fresh().randn([count])), await read(`randn_${count}`));
  for (const count of [6, 20])
    near(
      await numbers(fresh().randn([count], { dtype: 'float64' })),
      await read(`randn_f64_${count}`),
    );

  const one = fresh();
  near(await numbers(one.randn([3])), await read('seq_randn3_a'));
  const state = JSON.parse(JSON.stringify(one.state()));
  const resumed = new TorchGenerator(1);
  resumed.setState(state);
  near(await numbers(resumed.randn([3])), await read('seq_randn3_b'));
  expect(await numbers(resumed.rand([2]))).toEqual(await read('seq_rand2'));
  near(await numbers(resumed.randn([20])), await read('seq_randn20'));
  expect(await numbers(resumed.randint(0, 7, [4]))).toEqual(await read('seq_randint7_4'));
  near(await numbers(resumed.randn([1])), await read('seq_randn1'));

  const training = fresh();
  training.randint(0, 1000, [2]);
  near(await numbers(training.randn([2, 3, 4, 4])), await read('train_like_noise'));
});

test.each([
  [0, 2 ** 28 - 1, [59306160, 171107527, 128500261, 27798011]],
  [0, 2 ** 28, [171107524, 27798006, 174903507, 77674087]],
  [-5, 2 ** 28, [258453482, 216765835, 130934408, 68167973]],
  [0, 2 ** 32, [976413892, 1369975286, 4201435347, 1956722279]],
  [0, 2 ** 40, [752595690692, 108744157686, 291964244179, 650496783975]],
])("integers from %d below %d are PyTorch's", async (low, high, expected) => {
  expect(await numbers(new TorchGenerator(7).randint(low, high, [4]))).toEqual(expected);
});

test('a checkpointed region is recomputed with the same mask', async () => {
  const generator = new Generator(8);
  const x = ones([4, 50], { requiresGrad: true });
  const y = checkpoint((input) => dropout(input, 0.5, { generator }), x);
  generator.normal([1]);
  y.backward(onesLike(y));
  expect(await numbers(x.grad!)).toEqual(await numbers(y));
  expect(generator.state().step).toBe(2);
});
