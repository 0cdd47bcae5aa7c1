// The ops that have kernels of their own for Hopper GPUs, on an emulated one: the same cases, held to the same, in
// bfloat16 and float16 by turns.
import './as_hopper.js';
import { describe, expect, test } from 'vitest';
import { device, engineInfo } from '../../lib/index.js';
import { checkCase } from '../support/check_case.js';
import { loadOpCases } from '../support/load_cases.js';

const hopper = ['attention', 'conv2d', 'linear', 'matmul'];
const allCases = (await loadOpCases()).filter(({ op }) => hopper.includes(op));

describe('on an emulated Hopper', () => {
  test('its kernels are chosen by its compute capability', () => {
    expect(engineInfo().cuda?.gpus.map(({ capability }) => capability)).toEqual([90]);
    expect(allCases.map(({ op }) => op).sort()).toEqual(hopper);
  });

  for (const { op, cases, dtypes } of allCases)
    for (const [i, opCase] of cases.entries()) {
      const dtype = i % 2 === 0 ? 'bfloat16' : 'float16';
      if (opCase.bench === 'only' || opCase.large) continue;
      if (!(opCase.dtypes ?? dtypes ?? [dtype]).includes(dtype)) continue;
      test(`${op}: ${opCase.name} (${dtype})`, () =>
        checkCase(op, opCase, { dtype, device: device('emulated') }));
    }
});
