// Run as a program under other settings of the engine: prints a digest of each float32 case of the ops it is told.
import { device } from '../../lib/index.js';
import { digest } from './digest.js';
import { loadOpCases, moderateCases } from './load_cases.js';
import { caseInputs, differentiableInputs, runCase } from './run_case.js';

const wanted = new Set(process.argv.slice(2));
const on = { dtype: 'float32', device: device('cpu') } as const;

const digests: Record<string, string> = {};
for (const opCases of (await loadOpCases()).filter(({ op }) => wanted.has(op)))
  for (const opCase of moderateCases(opCases, 2 ** 20)) {
    const { op } = opCases;
    const gradients = differentiableInputs(opCase).length > 0;
    const run = await runCase(opCase, caseInputs(op, opCase, on.dtype), on, gradients);
    digests[`${op}: ${opCase.name}`] = digest(run);
  }
console.log(JSON.stringify(digests));
