// What V8 is told of the memory behind tensors: enough to collect those that were forgotten, and not so
// much that a program that disposes its own pays for a collection at every step.
import { PerformanceObserver } from 'node:perf_hooks';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { defaultDevice, tidy, zeros } from '../lib/index.js';

const elements = 1 << 22; // 16 MiB
const few = 1 << 20; // 4 MiB: many turns before much is forgotten, so that a busy machine has time to collect
const majorCollection = 4;

async function countMajorCollections(body: () => Promise<void>): Promise<number> {
  let count = 0;
  const observer = new PerformanceObserver((list) => {
    for (const { detail } of list.getEntries() as unknown as { detail: { kind: number } }[])
      if (detail.kind === majorCollection) ++count;
  });
  observer.observe({ entryTypes: ['gc'] });
  await body();
  await setTimeout(50); // entries arrive late
  observer.disconnect();
  return count;
}

test('steps that dispose what they make do not make V8 collect', async () => {
  const steps = 40;
  const count = await countMajorCollections(async () => {
    for (let step = 0; step < steps; ++step)
      await tidy(async () => {
        let x = zeros([elements]);
        for (let i = 0; i < 8; ++i) x = x.add(1);
        expect(await x.sum().item()).toBe(8 * elements);
      });
  });
  expect(count).toBeLessThan(steps / 4);
});

test.each([
  ['made outside of scopes', () => zeros([few])],
  ['returned from a scope', () => tidy(() => zeros([few]).add(1))],
  [
    'saved by a graph',
    () => {
      const x = zeros([few]);
      x.requiresGrad = true;
      return tidy(() => x.mul(2).square());
    },
  ],
])('tensors %s that nobody disposes are collected before they fill the memory', async (_, make) => {
  const device = defaultDevice();
  const before = device.memoryStats().liveBytes;
  const forgotten = () => device.memoryStats().liveBytes - before;
  make();
  // The collector is asked at every allocation and works in slices between them: how many turns it needs
  // hardly depends on how much each turn forgets.
  const perTurn = forgotten();
  const turns = 800;
  let most = perTurn;
  for (let i = 1; i < turns; ++i) {
    await setImmediate();
    make();
    most = Math.max(most, forgotten());
  }
  expect(perTurn).toBeGreaterThanOrEqual(few * 4);
  expect(most).toBeLessThan((turns / 2) * perTurn);
});
