// Runs one op case: builds its inputs in a dtype, runs it, reads values and gradients back as float64.
import { op, tensor, tidy, type Device, type DType, type Tensor } from '../../lib/index.js';
import type { InputArrays, InputSpec, InputTensors, OpCase } from '../ops/cases.js';
import { nd, type NdArray } from './oracle.js';
import { inputValues, isInteger, normals } from './random.js';

export interface Output extends NdArray {
  dtype: DType;
}

export interface CaseRun {
  inputs: InputArrays;
  outputs: Output[];
  /** By input name; only where a gradient arrived. */
  gradients: Record<string, Output>;
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
    // Float64 is the one dtype that carries all the values; the engine rounds them to the input's own.
    const wide = tensor(data, { shape, dtype: 'float64', device });
    const input = own === 'float64' ? wide : wide.to(own);
    input.requiresGrad = requiresGrad.includes(name);
    return input;
  });
}

/** Runs the case; with `gradients`, backward too, from fixed random upstream gradients. */
export function runCase(
  opCase: OpCase,
  values: InputArrays,
  on: { dtype: DType; device: Device },
  gradients = false,
): Promise<CaseRun> {
  return tidy(async () => {
    const wanted = gradients ? differentiableInputs(opCase) : [];
    const inputs = inputTensors(opCase, values, on.dtype, on.device, wanted);
    const outputs = asList(opCase.run(inputs, on));
    if (wanted.length > 0) innerProduct(outputs, upstream(outputs, opCase.name)).backward();
    const run: CaseRun = { inputs: {}, outputs: [], gradients: {} };
    for (const [name, input] of Object.entries(inputs)) {
      run.inputs[name] = await read(input);
      if (input.grad) run.gradients[name] = await read(input.grad);
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
    return direction ? sum + data.reduce((s, value, j) => s + value * direction[j], 0) : sum;
  }, 0);
}

export async function read(t: Tensor): Promise<Output> {
  const data = await t.data();
  return { ...nd(Float64Array.from(data as ArrayLike<number>, Number), t.shape), dtype: t.dtype };
}

export const asList = <T>(value: T | T[]): T[] => (Array.isArray(value) ? value : [value]);

// Integer outputs (indices) have no gradient and no direction.
function upstream(
  outputs: readonly { shape: readonly number[]; dtype: DType }[],
  caseName: string,
): (Float64Array | null)[] {
  return outputs.map(({ shape, dtype }, i) => {
    const count = shape.reduce((product, extent) => product * extent, 1);
    return isInteger(dtype) ? null : normals(count, `${caseName}/upstream/${i}`);
  });
}

// A scalar whose gradients are the upstream directions themselves, so that no other op's backward takes
// part in the check. Its value is never read.
function innerProduct(outputs: Tensor[], directions: (Float64Array | null)[]): Tensor {
  const gradients = outputs.map((output, i) => {
    const direction = directions[i];
    if (!direction) return null;
    const { shape, device, dtype } = output;
    return tensor(direction, { shape, device, dtype: 'float64' }).to(dtype);
  });
  const scalar = tensor([0], { shape: [1], dtype: 'float32', device: outputs[0].device });
  return op({
    name: 'innerProduct',
    inputs: outputs,
    output: scalar,
    backward: () => gradients,
  });
}

function mapValues<V, R>(
  record: Record<string, V>,
  fn: (value: V, name: string) => R,
): Record<string, R> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, fn(value, name)]));
}
