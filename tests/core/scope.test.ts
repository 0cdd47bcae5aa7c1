import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  defaultDevice,
  keep,
  noGrad,
  ones,
  scope,
  tensor,
  tidy,
  type Tensor,
} from '../../lib/index.js';

const count = (): number => defaultDevice().memoryStats().tensors;

describe('scopes', () => {
  let before = 0;
  beforeEach(() => {
    before = count();
  });
  afterEach(() => {
    expect(count()).toBe(before);
  });

  test('a using scope disposes what was made inside and keeps what was kept', () => {
    let kept: Tensor;
    let lost: Tensor;
    {
      using s = scope();
      lost = ones([2]);
      kept = s.keep(ones([3]));
    }
    expect(lost.disposed).toBe(true);
    expect([...kept.dataSync()]).toEqual([1, 1, 1]);
    kept.dispose();
  });

  test('nested scopes hand kept tensors to the surrounding one', () => {
    let inner: Tensor;
    {
      using _outer = scope();
      {
        using s = scope();
        inner = s.keep(ones([1]));
      }
      expect(inner.disposed).toBe(false);
    }
    expect(inner.disposed).toBe(true);
  });

  test('tidy keeps tensors in arrays, maps and plain objects', () => {
    const result = tidy(() => ({
      list: [ones([1])],
      map: new Map([['a', ones([1])]]),
      lost: ones([2]).shape,
    }));
    expect(result.list[0].disposed).toBe(false);
    expect(result.map.get('a')!.disposed).toBe(false);
    result.list[0].dispose();
    result.map.get('a')!.dispose();
  });

  test('tidy disposes when the body throws, synchronously or not', async () => {
    let made: Tensor | undefined;
    expect(() =>
      tidy(() => {
        made = ones([1]);
        throw new Error('no');
      }),
    ).toThrow('no');
    expect(made!.disposed).toBe(true);
    await expect(
      tidy(async () => {
        made = ones([1]);
        await Promise.resolve();
        throw new Error('later');
      }),
    ).rejects.toThrow('later');
    expect(made!.disposed).toBe(true);
  });

  test('concurrent async tidies never free each other’s tensors', async () => {
    const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
    const task = (value: number, ms: number): Promise<Tensor> =>
      tidy(async () => {
        const first = ones([value]);
        await pause(ms);
        const second = ones([value]);
        await pause(ms);
        expect(first.disposed).toBe(false);
        expect(await second.data()).toHaveLength(value);
        return first;
      });
    const results = await Promise.all([task(1, 5), task(2, 1), task(3, 3)]);
    for (const result of results) {
      expect(result.disposed).toBe(false);
      result.dispose();
    }
  });

  test('a using scope inside an async tidy belongs to its synchronous part', async () => {
    await tidy(async () => {
      let inner: Tensor;
      {
        using _s = scope();
        inner = ones([1]);
      }
      const outer = noGrad(() => ones([1]));
      expect(inner.disposed).toBe(true);
      await Promise.resolve();
      expect(outer.disposed).toBe(false);
    });
  });

  test('a using scope left open across an await says what to do instead', async () => {
    const misuse = async (): Promise<void> => {
      using _s = scope();
      ones([1]);
      await Promise.resolve();
    };
    await expect(misuse()).rejects.toThrow(/left open across an await.*tidy/s);
    const after = ones([1]); // belongs to nobody: the broken scope is gone
    expect(after.scope).toBe(null);
    after.dispose();
  });

  test('tidy spares gradients, those that were set by hand too', () => {
    const w = tensor([1, 2], { requiresGrad: true });
    tidy(() => {
      w.mul(3).sum().backward();
      const whole = w.grad!;
      w.grad = whole.mul(0.5);
      whole.dispose();
    });
    expect([...w.grad!.dataSync()]).toEqual([1.5, 1.5]);
    w.grad!.dispose();
    w.dispose();
  });

  test('keep takes a tensor out of every scope', () => {
    const kept = tidy(() => {
      const x = keep(ones([2]));
      return { described: x.describe(), x };
    });
    expect(kept.x.disposed).toBe(false);
    expect(kept.x.scope).toBe(null);
    kept.x.dispose();
  });
});
