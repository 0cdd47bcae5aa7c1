import { describe, expect, test } from 'vitest';
import {
  checkpoint,
  clipGradNorm,
  defaultDevice,
  Ema,
  enableGrad,
  grad,
  isGradEnabled,
  noGrad,
  norm,
  ones,
  op,
  scope,
  SGD,
  std,
  tensor,
  tidy,
  zeros_,
  zerosLike,
  type Tensor,
} from '../../lib/index.js';

const leaf = (...values: number[]): Tensor => tensor(values, { requiresGrad: true });
const values = (x: Tensor | null): number[] => Array.from(x!.dataSync(), Number);

describe('backward', () => {
  test('sums over every path and over calls', () => {
    const x = leaf(1, 2, 3);
    x.mul(x).add(x).sum().backward(); // d(x² + x) = 2x + 1
    expect(values(x.grad)).toEqual([3, 5, 7]);
    x.mul(2).sum().backward();
    expect(values(x.grad)).toEqual([5, 7, 9]);
  });

  test('undoes broadcasting once', () => {
    const a = tensor([[1], [2]], { requiresGrad: true }); // [2, 1]
    const b = leaf(10, 20, 30); // [3]
    a.mul(b).sum().backward();
    expect(a.grad!.shape).toEqual([2, 1]);
    expect(values(a.grad)).toEqual([60, 60]);
    expect(values(b.grad)).toEqual([3, 3, 3]);
  });

  test('gradients of two leaves never share memory', () => {
    const [a, b] = [leaf(1, 2), leaf(3, 4)];
    a.add(b).sum().backward();
    a.grad!.dispose();
    a.grad = null;
    a.mul(3).sum().backward();
    a.mul(3).sum().backward();
    expect(values(a.grad)).toEqual([6, 6]);
    expect(values(b.grad)).toEqual([1, 1]);
  });

  test('a gradient that fans out through views is not overwritten by a sum', () => {
    const x = leaf(1, 2, 3, 4);
    const y = x.mul(2);
    // The gradient of each sum is one block under two shapes, and y receives both.
    const z = y.reshape([2, 2]).reshape([4]).add(y);
    z.add(y).sum().backward();
    expect(values(x.grad)).toEqual([6, 6, 6, 6]);
  });

  test('needs one value or a gradient', () => {
    const x = leaf(1, 2);
    expect(() => x.mul(2).backward()).toThrow(/shape \[2\] needs a gradient/);
    x.mul(2).backward(tensor([1, 10]));
    expect(values(x.grad)).toEqual([2, 20]);
    expect(() => x.mul(2).backward(tensor([1, 10, 100]))).toThrow(/gradient is Tensor/);
  });

  test('a second walk needs retainGraph', () => {
    const x = leaf(3);
    const y = x.mul(x).sum();
    y.backward(undefined, { retainGraph: true });
    y.backward();
    expect(values(x.grad)).toEqual([12]);
    expect(() => y.backward()).toThrow(/retainGraph: true/);
  });

  test('without history it says why', () => {
    const x = leaf(1);
    expect(() => noGrad(() => x.mul(2).sum()).backward()).toThrow(/has no history/);
    expect(() => x.mul(2).detach().sum().backward()).toThrow(/has no history/);
  });

  test('requiresGrad is for floating leaves', () => {
    expect(() => (tensor([1], { dtype: 'int32' }).requiresGrad = true)).toThrow(
      /floating dtype, got int32/,
    );
    expect(() => (leaf(1).mul(2).requiresGrad = false)).toThrow(/leaves only/);
  });

  test.each([
    ['std', std],
    ['norm', norm],
  ])('the gradient of %s where it is 0 is 0', (_name, deviation) => {
    const x = tensor(
      [
        [0, 0],
        [0, 8],
      ],
      { requiresGrad: true },
    );
    deviation(x, 1).sum().backward();
    const slope = deviation === std ? Math.SQRT1_2 : 1;
    expect(values(x.grad)).toEqual([0, 0, deviation === std ? -slope : 0, slope].map(Math.fround));
  });

  test('a wrong rule is named', () => {
    const x = leaf(1, 2);
    const bad = op({ name: 'bad', inputs: [x], output: zerosLike(x), backward: () => [ones([3])] });
    expect(() => bad.sum().backward()).toThrow(
      /backward of bad: the gradient of input 0 has shape \[3\]/,
    );
  });

  test('an output without a gradient counts as zeros', () => {
    const x = leaf(1, 2);
    const both = op({
      name: 'two',
      inputs: [x],
      output: [zerosLike(x), zerosLike(x)],
      backward: ([da, db]) => [da.add(db.mul(10))],
    });
    both[1].sum().backward();
    expect(values(x.grad)).toEqual([10, 10]);
  });
});

describe('values written over before backward', () => {
  const overwritten = /backward: mul saved Tensor\(float32, \[1\]\) .* written over since/;

  test('by an optimizer: the network that is judged and the judge', () => {
    const [judge, made] = [leaf(0.5), leaf(2)];
    const optimizer = new SGD([judge], { lr: 0.1 });
    const fake = made.mul(3);
    const lossOfJudge = fake.detach().mul(judge).sum();
    const loss = fake.mul(judge).neg().sum();
    lossOfJudge.backward();
    optimizer.step();
    expect(() => loss.backward()).toThrow(overwritten);
    expect(made.grad).toBeNull();
    fake.mul(judge).neg().sum().backward();
    expect(values(made.grad)[0]).toBeCloseTo(0.3);
  });

  test.each<[string, (w: Tensor) => void]>([
    ['an initialiser', (w) => void zeros_(w)],
    ['an initialiser, through a view', (w) => void zeros_(w.detach().reshape([1, 1]))],
    [
      'the average',
      (w) => {
        const ema = new Ema([['w', w]]);
        ema.scope(() => undefined);
        ema.dispose();
      },
    ],
  ])('by %s', (_by, write) => {
    const w = leaf(2);
    const y = w.mul(w.reshape([1])).sum();
    write(w);
    expect(() => y.backward()).toThrow(
      expect.objectContaining({
        code: 'ERR_OVERWRITTEN',
        message: expect.stringMatching(overwritten) as string,
      }),
    );
  });

  test('by clipping and by more gradients, where a loss was made of a gradient', () => {
    const [w, x] = [leaf(2), leaf(3)];
    w.mul(4).sum().backward();
    const clipped = x.mul(w.grad!).sum();
    clipGradNorm([w], 1);
    expect(() => clipped.backward()).toThrow(overwritten);
    const summed = x.mul(w.grad!).sum();
    w.mul(4).sum().backward();
    expect(() => summed.backward()).toThrow(overwritten);
  });

  test('are no matter to rules that do not read them', () => {
    const [w, x] = [leaf(2), tensor([5])];
    const y = w.mul(x).add(w).sub(w.mul(3).neg()).add(1).reshape([1, 1]).sum();
    zeros_(w);
    y.backward();
    expect(values(w.grad)).toEqual([9]); // 5 + 1 + 3
  });

  test('may be written over once backward has read them', () => {
    const w = leaf(2);
    const optimizer = new SGD([w], { lr: 0.5 });
    for (let i = 0; i < 3; ++i) {
      w.mul(w).sum().backward();
      w.mul(w).sum().backward();
      optimizer.step();
      optimizer.zeroGrad();
    }
    expect(values(w)).toEqual([-2]);
  });

  test('are noticed by a checkpoint', () => {
    const x = leaf(2);
    const y = checkpoint((a) => a.mul(3), x).sum();
    zeros_(x);
    expect(() => y.backward()).toThrow(/checkpoint saved/);
  });
});

describe('grad', () => {
  test('gives partial gradients and touches no leaf', () => {
    const [x, w] = [leaf(2), leaf(5)];
    const h = x.mul(w);
    const y = h.mul(h).sum();
    const [dh, dw] = grad(y, [h, w], { retainGraph: true });
    expect(values(dh)).toEqual([20]);
    expect(values(dw)).toEqual([40]);
    expect(x.grad).toBe(null);
    expect(w.grad).toBe(null);
    y.backward();
    expect(values(x.grad)).toEqual([100]);
  });

  test('an input that does not matter gets zeros', () => {
    const [x, w] = [leaf(2), leaf(5)];
    expect(values(grad(x.mul(3).sum(), [w])[0])).toEqual([0]);
  });
});

describe('modes', () => {
  test('noGrad follows await and does not leak out', async () => {
    const seen: boolean[] = [];
    const inner = noGrad(async () => {
      await Promise.resolve();
      seen.push(isGradEnabled());
      enableGrad(() => seen.push(isGradEnabled()));
    });
    seen.push(isGradEnabled());
    await inner;
    expect(seen).toEqual([true, false, true]);
  });
});

describe('memory', () => {
  const live = (): number => defaultDevice().memoryStats().tensors;

  test('a step in a scope leaves nothing but gradients', () => {
    const x = leaf(1, 2, 3);
    const before = live();
    for (let i = 0; i < 3; ++i) {
      using _s = scope();
      x.mul(x).exp().sum().backward();
    }
    expect(live()).toBe(before + 1);
  });

  test('a forward pass whose history nobody kept gives up what it saved', () => {
    const x = leaf(1, 2, 3);
    const before = live();
    tidy(() => void x.mul(x).exp().sum());
    expect(live()).toBe(before);
  });

  test('a kept result keeps its history', () => {
    const x = leaf(2);
    const y = tidy(() => x.mul(x).sum());
    y.backward();
    expect(values(x.grad)).toEqual([4]);
  });

  test('saved tensors are free while backward proceeds', () => {
    const x = ones([1 << 18], { requiresGrad: true }); // 1 MiB
    const { liveBytes } = defaultDevice().memoryStats();
    using _s = scope();
    let y: Tensor = x;
    for (let i = 0; i < 8; ++i) y = tidy(() => y.exp());
    const total = y.sum();
    y.dispose();
    defaultDevice().resetPeak();
    const start = defaultDevice().memoryStats().liveBytes;
    total.backward();
    const { peakBytes } = defaultDevice().memoryStats();
    expect(start - liveBytes).toBeGreaterThan(7 << 20);
    expect(peakBytes - start).toBeLessThan(5 << 20);
  });
});

describe('checkpoint', () => {
  test('gives the gradients of the plain computation, to inputs and to parameters', () => {
    const run = (wrap: boolean): number[][] => {
      const [x, w] = [leaf(1, 2), leaf(3, 4)];
      const fn = (a: Tensor): Tensor => a.mul(w).exp().mul(a);
      (wrap ? checkpoint(fn, x) : fn(x)).sum().backward();
      return [values(x.grad), values(w.grad)];
    };
    expect(run(true)).toEqual(run(false));
  });

  test('reaches parameters when no input requires a gradient', () => {
    const [x, w] = [tensor([1, 2]), leaf(3, 4)];
    checkpoint((a) => a.mul(w), x)
      .sum()
      .backward();
    expect(values(w.grad)).toEqual([1, 2]);
  });

  test('refuses functions that it cannot record', async () => {
    const x = leaf(1, 2);
    const refuse = (fn: (a: Tensor) => unknown): void => {
      for (const mode of [enableGrad, noGrad])
        expect(() => mode(() => checkpoint(fn as (a: Tensor) => Tensor, x))).toThrow(
          /^checkpoint: the function must return a Tensor or an array of Tensors, got/,
        );
    };
    refuse(async (a) => a.mul(3));
    refuse(async () => Promise.reject(new Error('unseen')));
    refuse((a) => ({ y: a.mul(3) }));
    refuse((a) => [a.mul(3), 1]);
    refuse(() => undefined);
    await Promise.resolve();
  });

  test('hands on inputs and parameters without a change to them', () => {
    const [x, w] = [leaf(1, 2), leaf(3, 4)];
    for (let i = 0; i < 2; ++i) {
      checkpoint((a) => a, x)
        .mul(3)
        .sum()
        .backward();
      const [first, again, weight] = checkpoint((a) => {
        const y = a.mul(5);
        return [y, y, w];
      }, x);
      first.add(again).mul(weight).sum().backward();
    }
    expect([x.node, w.node]).toEqual([null, null]);
    expect(values(x.grad)).toEqual([66, 86]); // 2 · (3 + 10 w)
    expect(values(w.grad)).toEqual([20, 40]);
    const history = w.mul(2);
    checkpoint((a) => a, history)
      .sum()
      .backward();
    expect(values(w.grad)).toEqual([22, 42]);
  });

  test('keeps no intermediate results', () => {
    const x = ones([1 << 16], { requiresGrad: true });
    const before = defaultDevice().memoryStats().liveBytes;
    const y = checkpoint((a) => a.exp().exp().exp().sum(), x);
    expect(defaultDevice().memoryStats().liveBytes - before).toBeLessThan(1024);
    y.backward();
    expect(x.grad!.shape).toEqual([1 << 16]);
  });
});
