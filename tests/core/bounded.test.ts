// What must stay bounded: work that waits, and what attention keeps.
import { expect, test } from 'vitest';
import { attention, device, matmul, noise, tidy, zeros } from '../../lib/index.js';

test('a queue that is full makes the caller wait, and loses nothing', () =>
  tidy(async () => {
    // More than the queue holds, behind an operation that takes a while.
    const slow = noise([512, 512], { seed: 1 });
    let product = slow;
    for (let i = 0; i < 20; i++) product = matmul(product, slow).mul(1e-2);
    let x = zeros([3]);
    const count = 20_000;
    for (let i = 0; i < count; i++) x = tidy(() => x.add(1));
    expect([...(await x.data())]).toEqual([count, count, count]);
    await product.device.synchronize();
  }));

test('attention keeps no matrix of all pairs, forward or backward', () =>
  tidy(async () => {
    const length = 4096;
    const [q, k, v] = [1, 2, 3].map((seed) => {
      const x = noise([1, length, 1, 32], { seed, device: 'cpu' });
      x.requiresGrad = true;
      return x;
    });
    const cpu = device('cpu');
    await cpu.synchronize();
    const before = cpu.memoryStats().liveBytes;
    cpu.resetPeak();
    attention(q, k, v).square().mean().backward();
    await cpu.synchronize();
    const pairs = 4 * length ** 2;
    expect(cpu.memoryStats().peakBytes - before).toBeLessThan(pairs / 4);
  }));

test('attention of heads without channels comes to an end', () =>
  tidy(async () => {
    const [q, k] = [5, 7].map((length) => noise([2, length, 3, 0], { seed: 1, device: 'cpu' }));
    q.requiresGrad = true;
    const y = attention(q, k, k);
    y.sum().backward();
    await device('cpu').synchronize();
    expect([y.shape, q.grad!.shape]).toEqual([q.shape, q.shape]);
  }));
