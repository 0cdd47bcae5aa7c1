// Runs the cases of tests/ops/: every op, on every device, in every dtype it supports.
import { describe, expect, test } from 'vitest';
import * as lib from '../lib/index.js';
import * as ops from '../lib/ops/index.js';
import { usedKernels } from '../lib/native.js';
import '../bench/machine.js'; // the user of the kernels that measure
import {
  DeviceError,
  DisposedError,
  EmulsionError,
  type Device,
  type DType,
} from '../lib/index.js';
import type { OpCase, OpCases } from './ops/cases.js';
import { checkCase } from './support/check_case.js';
import { availableDevices } from './support/devices.js';
import { loadOpCases } from './support/load_cases.js';
import { nd } from './support/oracle.js';
import { normals } from './support/random.js';
import {
  asList,
  caseInputs,
  differentiableInputs,
  inputSpec,
  inputTensors,
  project,
  read,
  runCase,
} from './support/run_case.js';

const allCases = await loadOpCases();
const floatingDTypes: readonly DType[] = ['float64', 'float32', 'bfloat16', 'float16'];

for (const opCases of allCases) {
  describe(opCases.op, () => {
    for (const opCase of opCases.cases) {
      if (opCase.bench === 'only') continue;
      for (const device of availableDevices) {
        if (opCase.large && device.name === 'emulated') continue;
        for (const dtype of opCase.dtypes ?? opCases.dtypes ?? floatingDTypes) {
          if (dtype === 'float64' && device.name !== 'cpu') continue; // the oracle lives on the CPU
          test(`${opCase.name} (${dtype}, ${device})`, () =>
            checkCase(opCases.op, opCase, { dtype, device }));
        }
      }
      if (differentiableInputs(opCase).length > 0)
        test(`${opCase.name} (finite differences)`, () =>
          checkFiniteDifferences(opCases.op, opCase));
    }
    for (const error of opCases.errors ?? [])
      test(`refuses: ${error.name}`, () =>
        expectError(error.run, error.error ?? EmulsionError, error.message));
    describeMisuse(opCases);
  });
}

/** The float64 backward against central differences of the float64 forward. */
async function checkFiniteDifferences(name: string, opCase: OpCase) {
  const on = { dtype: 'float64' as const, device: cpu() };
  const values = caseInputs(name, opCase, 'float64');
  const { gradients } = await runCase(opCase, values, on, true);
  const step = 1e-6;
  for (const input of differentiableInputs(opCase)) {
    const { data, shape } = values[input];
    const gradient = gradients[input]?.data;
    expect(gradient, `${input} has a gradient`).toBeDefined();
    for (let round = 0; round < 2; round++) {
      const direction = normals(data.length, `${name}/${opCase.name}/${input}/${round}`);
      const loss = async (sign: number) => {
        const moved = nd(
          data.map((value, i) => value + sign * step * direction[i]),
          shape,
        );
        const { outputs } = await runCase(opCase, { ...values, [input]: moved }, on);
        return project(outputs, opCase.name);
      };
      const numeric = ((await loss(+1)) - (await loss(-1))) / (2 * step);
      let analytic = 0;
      let squares = 0;
      gradient.forEach((value, i) => {
        analytic += value * direction[i];
        squares += (value * direction[i]) ** 2;
      });
      // Terms may cancel in the sum: errors are relative to their norm too.
      const scale = Math.max(Math.abs(numeric), Math.sqrt(squares), 1e-3);
      const error = Math.abs(numeric - analytic) / scale;
      expect(
        error,
        `gradient of ${input}, direction ${round}: backward gives ${analytic}, differences ${numeric}`,
      ).toBeLessThan(1e-6);
    }
  }
}

function cpu(): Device {
  return lib.device('cpu');
}

/** A device beside the CPU, where there is one. */
const stranger = availableDevices.find(({ name }) => name !== 'cpu');

/** What no op may accept, tried on each tensor of the op's first case. */
function describeMisuse({ op, cases }: OpCases) {
  const opCase = cases.find(
    ({ inputs, bench }) => bench !== 'only' && Object.keys(inputs).length > 0,
  );
  if (!opCase) return;
  const dtype = opCase.dtypes?.[0] ?? 'float32';
  const inputs = () => inputTensors(opCase, caseInputs(op, opCase, dtype), dtype, cpu());
  const runWith = (name: string, value: unknown) => () =>
    opCase.run({ ...inputs(), [name]: value } as ReturnType<typeof inputs>, {
      dtype,
      device: cpu(),
    });

  for (const name of Object.keys(opCase.inputs)) {
    test(`refuses a disposed ${name}`, async () => {
      const disposed = inputs()[name];
      disposed.dispose();
      await expectError(runWith(name, disposed), DisposedError, /disposed/);
    });
    test(`refuses a text as ${name}`, () => expectError(runWith(name, 'junk'), EmulsionError, /./));
    if (stranger && Object.keys(opCase.inputs).length > 1)
      test(`refuses ${name} on ${stranger}`, () =>
        expectError(
          () => {
            const own = inputs();
            return opCase.run({ ...own, [name]: own[name].to(stranger) }, { dtype, device: cpu() });
          },
          DeviceError,
          /emulated|cuda/,
        ));
    test(`refuses or handles ${name} of another dtype, rank and size`, async () => {
      const { shape } = inputSpec(opCase.inputs[name]);
      const strangers = [
        ...(['int32', 'bool', 'float64'] as const).map((other) =>
          lib.zeros(shape, { dtype: other }),
        ),
        lib.zeros([], { dtype }),
        lib.zeros([0], { dtype }),
        lib.zeros([1, ...shape], { dtype }),
        lib.zeros(
          shape.map((extent) => extent + 1),
          { dtype },
        ),
      ];
      for (const stranger of strangers) await typedErrorOrResult(runWith(name, stranger));
    });
  }
}

async function expectError(
  run: () => unknown,
  type: new (...args: never[]) => Error,
  message: RegExp,
) {
  let thrown: unknown;
  try {
    await readAll(run());
  } catch (error) {
    thrown = error;
  }
  expect(thrown, 'a wrong call must throw').toBeDefined();
  expect(thrown).toBeInstanceOf(type);
  expect((thrown as Error).message).toMatch(message);
}

async function typedErrorOrResult(run: () => unknown) {
  try {
    await readAll(run());
  } catch (error) {
    expect(error).toBeInstanceOf(EmulsionError);
  }
}

async function readAll(result: unknown) {
  for (const output of asList(result)) if (output instanceof lib.Tensor) await read(output);
}

describe('completeness', () => {
  const covered = new Set(allCases.map(({ op }) => op));
  for (const name of Object.keys(ops))
    if (typeof ops[name as keyof typeof ops] === 'function')
      test(`${name} has cases`, () => expect(covered.has(name)).toBe(true));

  test('every kernel has a user and every user a kernel', () => {
    // native() refuses names that the engine lacks, so a missing row fails earlier, by name.
    const { kernels } = lib.engineInfo();
    expect(kernels.filter((name) => !usedKernels.has(name))).toEqual([]);
    expect(
      kernels.filter((name, i) => kernels.indexOf(name) !== i),
      'rows that stand twice',
    ).toEqual([]);
  });

  for (const name of covered)
    test(`the cases of ${name} belong to an exported op`, () =>
      expect(Object.keys(lib)).toContain(name));
});
