// The order of every sum depends on shapes alone: any number of threads gives the same bits.
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { device, engineInfo, manualSeed, ones, setNumThreads, tidy } from '../lib/index.js';
import { digest } from './support/digest.js';
import { loadOpCases, moderateCases } from './support/load_cases.js';
import { caseInputs, differentiableInputs, runCase } from './support/run_case.js';

const threads = engineInfo().threads;
afterAll(() => setNumThreads(threads));
const on = { dtype: 'float32', device: device('cpu') } as const;

for (const opCases of await loadOpCases())
  describe(opCases.op, () => {
    for (const opCase of moderateCases(opCases, 2 ** 19))
      test(opCase.name, async () => {
        const inputs = caseInputs(opCases.op, opCase, on.dtype);
        const wanted = differentiableInputs(opCase).length > 0;
        const results: string[] = [];
        for (const count of [1, 2, 5]) {
          setNumThreads(count);
          manualSeed(1);
          results.push(digest(await runCase(opCase, inputs, on, wanted)));
        }
        expect(new Set(results).size).toBe(1);
      });
  });

// A thread that sleeps is woken off the core of whoever wakes it.
test.runIf(process.platform === 'linux')('who was woken has all its cores again', async () => {
  setNumThreads(3);
  const cores = (): string[] =>
    readdirSync('/proc/self/task').map((thread) => {
      const status = readFileSync(`/proc/self/task/${thread}/status`, 'utf8');
      return /^Cpus_allowed:\s*(.*)$/m.exec(status)![1];
    });
  const [before] = cores();
  for (let round = 0; round < 5; ++round) {
    await tidy(async () => {
      const sum = ones([2 ** 20]).add(1);
      expect(await sum.mean().item()).toBe(2);
    });
    await setTimeout(20); // longer than threads wait awake
  }
  // A thread takes its cores back when it runs, which a busy machine may put off.
  await expect.poll(() => new Set(cores()), { timeout: 60_000 }).toEqual(new Set([before]));
});
