import { expect, test } from 'vitest';
import { Ema, SGD, readSafetensors, tensor, type Tensor } from '../../lib/index.js';
import { golden } from '../io/temporary.js';

const numbers = async (x: Tensor): Promise<number[]> => Array.from(await x.data(), Number);
const leaf = (values: number[]): Tensor => tensor(values, { requiresGrad: true });

// Overwrites a parameter through the optimizer, the only public way to change one: p -= 1 · (p - target).
async function assign(param: Tensor, target: readonly number[]): Promise<void> {
  const now = await numbers(param);
  param.grad = tensor(
    Float64Array.from(target, (value, i) => now[i] - value),
    { dtype: 'float32' },
  );
  new SGD([param], { lr: 1 }).step();
}

test('follows the golden shadows, decays and keys', async () => {
  const file = await readSafetensors(golden('modules/lit_ema.safetensors'));
  const names = ['0.weight', '0.bias', '1.weight', '1.bias'];
  const cases = JSON.parse(file.metadata.get('cases')!) as Record<
    string,
    { args: { decay: number; use_num_updates: boolean; buffer_keys: string[] } }
  >;
  for (const [name, { args }] of Object.entries(cases)) {
    const read = async (key: string) => numbers(await file.get(`${name}/${key}`));
    const weights = await Promise.all(names.map((each) => read(`in.w.${each}`)));
    const row = (values: number[], step: number, rows: number) => {
      const length = values.length / rows;
      return values.slice(step * length, (step + 1) * length);
    };
    const params = weights.map((values) => leaf(row(values, 0, 13)));
    const ema = new Ema(
      names.map((each, i) => [each, params[i]] as const),
      { decay: args.decay, useNumUpdates: args.use_num_updates },
    );
    const decays = await read('out.decay_used');
    const shadows = await Promise.all(names.map((each) => read(`out.shadow.${each}`)));
    for (let step = 0; step < 12; ++step) {
      for (const [i, param] of params.entries()) await assign(param, row(weights[i], step + 1, 13));
      expect(ema.nextDecay).toBeCloseTo(decays[step], 6);
      ema.update();
      const state = ema.stateDict();
      for (const [i, each] of names.entries())
        (await numbers(state[each.replaceAll('.', '')])).forEach((value, k) =>
          expect(value).toBeCloseTo(row(shadows[i], step, 12)[k], 5),
        );
    }
    expect(Object.keys(ema.stateDict()).sort()).toEqual([...args.buffer_keys].sort());
    expect(await ema.stateDict().num_updates.item()).toBe((await read('out.num_updates'))[0]);
  }
});

test('scope shows the average and always brings the parameters back', async () => {
  const param = leaf([1, 1]);
  const ema = new Ema([['w', param]], { decay: 0.5, useNumUpdates: false });
  await assign(param, [3, 5]);
  ema.update();
  await ema.scope(async () => expect(await numbers(param)).toEqual([2, 3]));
  expect(await numbers(param)).toEqual([3, 5]);
  expect(() =>
    ema.scope(() => {
      throw new Error('inside');
    }),
  ).toThrow('inside');
  expect(await numbers(param)).toEqual([3, 5]);
  ema.store();
  expect(() => ema.store()).toThrow(/already stored/);
  ema.restore();
  expect(() => ema.restore()).toThrow(/nothing is stored/);
});

test('a saved average loads, and a foreign one is refused with every key', async () => {
  const param = leaf([2]);
  const ema = new Ema([['a.b', param]]);
  ema.update();
  const copy = new Ema([['a.b', leaf([7])]], { decay: 0.1 });
  await copy.loadStateDict(ema.stateDict());
  expect(copy.numUpdates).toBe(1);
  expect(await numbers(copy.stateDict().ab)).toEqual([2]);
  const foreign = { decay: tensor(1), num_updates: tensor(0), c: tensor([1]) };
  await expect(copy.loadStateDict(foreign)).rejects.toThrow(/missing keys: ab; unexpected keys: c/);
});

test('goes on from a saved average bit for bit, also after its warm-up', async () => {
  const param = leaf([1, -3, 0.1]);
  const average = () =>
    new Ema([['w', param]], { from: { averages: new Map(), numUpdates: 90_000 } });
  const [whole, first, second] = [average(), average(), average()];
  await second.loadStateDict(first.stateDict());
  await assign(param, [2, 5, -0.7]);
  for (const ema of [whole, second]) for (let i = 0; i < 50; ++i) ema.update();
  expect(second.nextDecay).toBe(whole.nextDecay);
  expect(await numbers(second.stateDict().w)).toEqual(await numbers(whole.stateDict().w));
});

test('begins with an average that is given', async () => {
  const [a, b] = [leaf([1]), leaf([2])];
  const from = { averages: new Map([['a', tensor([5])]]), numUpdates: 9 };
  const ema = new Ema(
    [
      ['a', a],
      ['b', b],
    ],
    { from },
  );
  expect(await numbers(ema.averageOf(a)!)).toEqual([5]);
  expect(await numbers(ema.averageOf(b)!)).toEqual([2]);
  expect(ema.nextDecay).toBe(11 / 20);
  expect(new Ema([['a', a]], { from: { ...from, numUpdates: -1 } }).nextDecay).toBeCloseTo(
    0.9999,
    7,
  );
});
