import { afterEach, describe, expect, test } from 'vitest';
import { device, EmulsionError, empty, keep, tidy, type Tensor } from '../../lib/index.js';

const cpu = device('cpu');
const mebibyte = 2 ** 20;
const block = (count: number): Tensor => empty([count, mebibyte / 4], { device: cpu });

function refusal(run: () => unknown): EmulsionError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(EmulsionError);
    return error as EmulsionError;
  }
  throw new Error('nothing was thrown');
}

describe('setMemoryLimit', () => {
  afterEach(() => cpu.setMemoryLimit(Infinity));

  test('refuses what goes beyond, and says what is live', () =>
    tidy(() => {
      const before = cpu.memoryStats().liveBytes;
      cpu.setMemoryLimit(before + 8 * mebibyte);
      const [large, small] = [block(4), block(2)];
      const view = large.reshape([2, 2, mebibyte / 4]);
      const error = refusal(() => block(4));
      expect(error.code).toBe('ERR_OUT_OF_MEMORY');
      expect(error.message).toContain(`asked for ${4 * mebibyte} bytes`);
      expect(error.message).toContain(`(the limit is ${before + 8 * mebibyte})`);
      expect(error.message).toContain(
        'Largest live blocks on cpu:\n' +
          `  ${4 * mebibyte} bytes: float32 [4, ${mebibyte / 4}]\n` +
          `  ${2 * mebibyte} bytes: float32 [2, ${mebibyte / 4}]`,
      );
      // Nothing has changed: what fits still fits, and what is given back can be had again.
      block(2);
      small.dispose();
      block(2);
      view.dispose();
    }));

  test('the cache gives way', () => {
    const { liveBytes } = cpu.memoryStats();
    tidy(() => void block(16));
    expect(cpu.memoryStats().cachedBytes).toBeGreaterThanOrEqual(16 * mebibyte);
    cpu.setMemoryLimit(liveBytes + 8 * mebibyte);
    expect(cpu.memoryStats().cachedBytes).toBeLessThanOrEqual(8 * mebibyte);
    tidy(() => void block(6)); // leaves a block of 6 MiB in the cache
    tidy(() => void block(7));
    const { cachedBytes } = cpu.memoryStats();
    expect(cachedBytes).toBeLessThanOrEqual(8 * mebibyte);
  });

  test('what is live stays, whatever the limit', () => {
    const x = keep(block(1));
    cpu.setMemoryLimit(0);
    // Blocks lie in segments of 32 MiB: what is left of this one stays with it.
    expect(cpu.memoryStats().cachedBytes).toBeLessThan(32 * mebibyte);
    expect(() => block(1)).toThrow(/out of memory.*the limit is 0/s);
    expect(x.dataSync()).toHaveLength(mebibyte / 4);
    x.dispose();
    cpu.setMemoryLimit(Infinity);
    block(1).dispose();
  });

  test('refuses numbers that are none', () => {
    for (const wrong of [-1, 0.5, NaN])
      expect(() => cpu.setMemoryLimit(wrong)).toThrow(/setMemoryLimit: expected bytes/);
  });
});
