// The comparison with PyTorch times work, not the memory of results that nobody let go.
import { expect, test } from 'vitest';
import { groupNorm, rows } from '../../bench/versus/cases.js';
import { prepare, repeat } from '../../bench/versus/ours/work.js';
import { device } from '../../lib/index.js';

test.each([...groupNorm(1, 4, 32), ...rows('softmax', 4, 8)])(
  '$name leaves no tensor behind',
  async (work) => {
    const live = (): number => device('cpu').memoryStats().liveBlocks;
    const prepared = prepare(work);
    const before = live();
    await repeat(prepared, 3);
    expect(live()).toBe(before);
    prepared.dispose();
  },
);
