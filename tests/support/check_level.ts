// Run as a program at an instruction-set level: prints the cases of the ops it is told whose float32
// results are not those of float64, forward or backward.
import { device } from '../../lib/index.js';
import { loadOpCases, moderateCases } from './load_cases.js';
import type { NdArray } from './oracle.js';
import { caseInputs, differentiableInputs, runCase } from './run_case.js';

const tolerance = 1e-5;
const wanted = new Set(process.argv.slice(2));

/** The norm of the difference over the norm of what is expected. */
function distance(got: NdArray, expected: NdArray): number {
  let difference = 0;
  let whole = 0;
  for (let i = 0; i < got.data.length; i++) {
    const [a, b] = [Number(got.data[i]), Number(expected.data[i])];
    if (!Number.isFinite(b) && Object.is(a, b)) continue;
    difference += (a - b) ** 2;
    whole += b ** 2;
  }
  return Math.sqrt(difference / (whole || 1));
}

const all = await loadOpCases();
for (const op of wanted)
  if (!all.some((known) => known.op === op)) throw new Error(`there are no cases of ${op}`);

let count = 0;
const failures: string[] = [];
for (const opCases of all.filter(({ op }) => wanted.has(op)))
  for (const opCase of moderateCases(opCases, 2 ** 20)) {
    const { op } = opCases;
    const grad = differentiableInputs(opCase).length > 0;
    const on = { dtype: 'float32', device: device('cpu') } as const;
    const run = await runCase(opCase, caseInputs(op, opCase, on.dtype), on, grad);
    const oracle = await runCase(
      opCase,
      run.inputs,
      { ...on, dtype: 'float64' },
      grad && run.upstream,
    );
    count++;
    const pairs: [NdArray, NdArray][] = run.outputs.map((y, i) => [y, oracle.outputs[i]]);
    for (const [name, gradient] of Object.entries(run.gradients))
      pairs.push([gradient, oracle.gradients[name]]);
    const worst = Math.max(...pairs.map(([got, expected]) => distance(got, expected)));
    if (!(worst <= tolerance)) failures.push(`${op}: ${opCase.name}: ${worst}`);
  }
console.log(JSON.stringify({ count, failures }));
