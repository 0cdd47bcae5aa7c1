// Runs one op case: builds its inputs in a dtype, runs it, reads values and gradients back as float64.
import {
  backward,
  op,
  tensor,
  tidy,
  type Device,
  type DType,
  type Tensor,
} from '../../lib/index.js';
import type { InputArrays, InputSpec, InputTensors, OpCase } from '../ops/cases.js';
import { nd, size, type NdArray } from './oracle.js';
import { inputValues, isInteger, normals } from './random.js';

export interface Output extends NdArray {
  dtype: DType;
}

export interface CaseRun {
  inputs: InputArrays;
  outputs: Output[];
  /** By input name; only where a gradient arrived. */
  gradients: Record<string, Output>;
  /** The gradients that backward started from, by output, as the dtype rounded them. */
  upstream: (NdArray | null)[];
}

export function inputSpec(input: OpCase['inputs'][string]): InputSpec {
  return 'shape' in input ? input : { shape: input };
}

export function inputDType(spec: InputSpec, dtype: DType): DType {
  if (!spec.dtype) return dtype;
  return isInteger(spec.dtype) || dtype !== 'float64' ? spec.dtype : 'float64';
}

/** The case's input values before any rounding, seeded by op, case and input. */
export function caseInputs(opName: string, opCase: OpCase, dtype: DType): InputArrays {
  return mapValues(opCase.inputs, (input, name) => {
    const spec = inputSpec(input);
    return inputValues(spec, inputDType(spec, dtype), `${opName}/${opCase.name}/${name}`);
  });
}

export function differentiableInputs(opCase: OpCase): string[] {
  if (opCase.grad === false) return [];
  return Object.keys(opCase.inputs).filter((name) => {
    const spec = inputSpec(opCase.inputs[name]);
    return spec.grad !== false && !(spec.dtype && isInteger(spec.dtype));
  });
}

export function inputTensors(
  opCase: OpCase,
  values: InputArrays,
  dtype: DType,
  device: Device,
  requiresGrad: readonly string[] = [],
): InputTensors {
  return mapValues(values, ({ data, shape }, name) => {
    const own = inputDType(inputSpec(opCase.inputs[name]), dtype);
    return tensor(data, { shape, dtype: own, device, requiresGrad: requiresGrad.includes(name) });
  });
}

/**
 * Runs the case; with `gradients`, backward too, from fixed random upstream gradients or, to compare with
 * another run, from that run's own.
 */
export function runCase(
  opCase: OpCase,
  values: InputArrays,
  on: { dtype: DType; device: Device },
  gradients: boolean | CaseRun['upstream'] = false,
): Promise<CaseRun> {
  return tidy(async () => {
    const wanted = gradients ? differentiableInputs(opCase) : [];
    const inputs = inputTensors(opCase, values, on.dtype, on.device, wanted);
    const outputs = asList(opCase.run(inputs, on));
    const run: CaseRun = { inputs: {}, outputs: [], gradients: {}, upstream: [] };
    if (wanted.length > 0) {
      const arrays = Array.isArray(gradients) ? gradients : upstream(outputs, opCase.name);
      const seeds = arrays.map(
        (array, i) => array && tensor(array.data, { shape: array.shape, ...kind(outputs[i]) }),
      );
      backward(innerProduct(outputs, seeds));
      for (const seed of seeds) run.upstream.push(seed && (await read(seed)));
    }
    for (const [name, input] of Object.entries(inputs)) {
      run.inputs[name] = await read(input);
      if (!input.grad) continue;
      run.gradients[name] = await read(input.grad);
      input.grad.dispose(); // a leaf's gradient outlives its scope
    }
    for (const output of outputs) run.outputs.push(await read(output));
    return run;
  });
}

/** The scalar that finite differences differentiate: sum over outputs of <upstream, output>. */
export function project(outputs: readonly Output[], caseName: string): number {
  const directions = upstream(outputs, caseName);
  return outputs.reduce((sum, { data }, i) => {
    const direction = directions[i];
    return direction ? sum + data.reduce((s, value, j) => s + value * direction.data[j], 0) : sum;
  }, 0);
}

export async function read(t: Tensor): Promise<Output> {
  const data = await t.data();
  const numbers = t.dtype === 'int64' ? Array.from(data as ArrayLike<bigint>, Number) : data;
  return { ...nd(numbers as ArrayLike<number>, t.shape), dtype: t.dtype };
}

export const asList = <T>(value: T | T[]): T[] => (Array.isArray(value) ? value : [value]);

// Integer outputs (indices) have no gradient and no direction.
function upstream(
  outputs: readonly { shape: readonly number[]; dtype: DType }[],
  caseName: string,
): (NdArray | null)[] {
  return outputs.map(({ shape, dtype }, i) =>
    isInteger(dtype) ? null : nd(normals(size(shape), `${caseName}/upstream/${i}`), shape),
  );
}

const kind = ({ dtype, device }: Tensor) => ({ dtype, device });

// A scalar whose gradients are the upstream directions themselves, so that no other op's backward takes
// part in the check. Its value is never read.
function innerProduct(outputs: Tensor[], seeds: (Tensor | null)[]): Tensor {
  const output = tensor([0], { device: outputs[0].device });
  return op({ name: 'innerProduct', inputs: outputs, output, backward: () => [...seeds] });
}

function mapValues<V, R>(
  record: Record<string, V>,
  fn: (value: V, name: string) => R,
): Record<string, R> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, fn(value, name)]));
}
