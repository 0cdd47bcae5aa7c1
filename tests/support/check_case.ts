// One op case on one device, against a reference in plain TypeScript or the CPU engine in float64.
import { expect } from 'vitest';
import { device, type Device, type DType } from '../../lib/index.js';
import type { OpCase } from '../ops/cases.js';
import { expectClose, type Closeness } from './expect_close.js';
import { nd, type NdArray } from './oracle.js';
import { caseInputs, differentiableInputs, runCase, type CaseRun } from './run_case.js';

/** Forward against the reference or the float64 engine, gradients against the float64 engine. */
export async function checkCase(
  name: string,
  opCase: OpCase,
  on: { dtype: DType; device: Device },
): Promise<void> {
  const grad = differentiableInputs(opCase).length > 0;
  const run = await runCase(opCase, caseInputs(name, opCase, on.dtype), on, grad);
  // The oracle sees the inputs as this dtype rounded them.
  const oracle =
    opCase.verify || (opCase.reference && !grad)
      ? null
      : await runCase(
          opCase,
          run.inputs,
          { dtype: 'float64', device: device('cpu') },
          grad && run.upstream,
        );

  if (opCase.verify) opCase.verify(run.outputs, run.inputs);
  else {
    const expected = opCase.reference ? references(opCase, run) : oracle!.outputs;
    expect(run.outputs.length, 'number of outputs').toBe(expected.length);
    run.outputs.forEach((output, i) => {
      const what = `output ${i}`;
      expect(output.shape, `${what}: shape`).toEqual(expected[i].shape);
      expectClose(output.data, expected[i].data, { ...closeness(opCase, output), what });
    });
  }
  if (!grad || !oracle) return;
  for (const input of differentiableInputs(opCase)) {
    const gradient = gradientOf(run, input);
    expect(gradient.shape, `gradient of ${input}: shape`).toEqual(run.inputs[input].shape);
    expect(gradient.dtype, `gradient of ${input}: dtype`).toBe(
      (run.inputs[input] as { dtype?: DType }).dtype,
    );
    expectClose(gradient.data, gradientOf(oracle, input).data, {
      ...closeness(opCase, gradient),
      slack: 4,
      what: `gradient of ${input}`,
    });
  }
}

function references(opCase: OpCase, run: CaseRun): NdArray[] {
  const result = opCase.reference!(run.inputs);
  if ('shape' in result) return [result];
  const isList = (list: typeof result): list is NdArray[] => typeof list[0] === 'object';
  return isList(result) ? result : [nd(result, run.outputs[0].shape)];
}

function closeness(opCase: OpCase, output: { shape: readonly number[]; dtype: DType }): Closeness {
  const { tolerance, reduction } = opCase;
  return { dtype: output.dtype, shape: output.shape, tolerance, reduction };
}

function gradientOf(run: CaseRun, input: string) {
  const gradient = run.gradients[input];
  if (!gradient) throw new Error(`${input} requires a gradient and got none`);
  return gradient;
}
