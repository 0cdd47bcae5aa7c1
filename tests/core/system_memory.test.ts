// What the allocator takes of the system and gives back, seen from outside: steps of a training that are never quite
// the same, as those of real ones.
import { expect, test } from 'vitest';
import { defaultDevice, zeros, type Tensor } from '../../lib/index.js';

const MiB = 2 ** 20;
const device = defaultDevice();

/** Takes 2 to 12 MiB at a time, about 400 MiB in all, and gives it back; sizes change from step to step. */
function step(number: number, kept: Tensor[]): void {
  const taken = Array.from({ length: 60 }, (_, i) => {
    const sixteenths = 32 + ((i * 37 + (i % 5 === 0 ? number * 11 : 0)) % 160);
    if (i % 20 === 0) kept.push(zeros([64 * ((number % 7) + 1)]));
    return zeros([(sixteenths * MiB) / 16 / 4]);
  });
  for (const block of taken) block.dispose();
}

test('steps of changing sizes do not swell the process', async () => {
  device.emptyCache();
  await device.synchronize();
  const kept: Tensor[] = [];
  const swollen: number[] = [];
  for (let number = 0; number < 24; number++) {
    step(number, kept);
    await device.synchronize();
    const { liveBytes, cachedBytes } = device.memoryStats();
    swollen.push((process.memoryUsage.rss() - liveBytes - cachedBytes) / MiB);
  }
  for (const each of kept) each.dispose();
  // What the process has beside tensors, after the first steps and after all.
  expect(Math.max(...swollen.slice(8)) - swollen[3]).toBeLessThan(48);
});

test('a step finds what the step before it gave back', async () => {
  device.emptyCache();
  const kept: Tensor[] = [];
  step(0, kept);
  const { cachedBytes } = device.memoryStats();
  expect(cachedBytes / MiB).toBeGreaterThan(300);
  // A size that nothing has: this alone must not cost what the next step wants.
  zeros([(100 * MiB) / 4]).dispose();
  expect(device.memoryStats().cachedBytes).toBeGreaterThanOrEqual(cachedBytes);
  for (const each of kept) each.dispose();
  await device.synchronize();
});

test('a large block serves smaller ones, and is whole again when they are given back', async () => {
  device.emptyCache();
  const held = () => device.memoryStats().liveBytes + device.memoryStats().cachedBytes;
  const block = (mebibytes: number) => zeros([(mebibytes * MiB) / 4]);
  block(96).dispose();
  const before = held();
  const parts = [block(40), block(1), block(30), block(25)];
  expect(held()).toBe(before);
  // Neighbours on both sides, on one, and on none are free.
  for (const i of [0, 2, 1, 3]) parts[i].dispose();
  block(96).dispose();
  expect(held()).toBe(before);
  device.emptyCache();
  expect(held()).toBe(before - 96 * MiB);
  await device.synchronize();
});

test('what has not been wanted for long goes back at the next miss', async () => {
  device.emptyCache();
  const kept: Tensor[] = [];
  step(0, kept);
  const { cachedBytes } = device.memoryStats();
  for (let i = 0; i < 20_000; i++) zeros([1]).dispose();
  zeros([(101 * MiB) / 4]).dispose();
  expect(device.memoryStats().cachedBytes).toBeLessThan(cachedBytes);
  for (const each of kept) each.dispose();
  await device.synchronize();
});
