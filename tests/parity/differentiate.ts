// Runs a case forward and backward and reads everything in PyTorch's layout.
import { zerosLike, type Module, type Tensor } from '../../lib/index.js';
import type { Computed } from './compare.js';
import type { GoldenCase } from './golden.js';
import { loadParameters } from './parameters.js';
import type { Results } from './runner.js';
import { fromTensor, toTensor, usualLayout, type Layout } from './tensors.js';

export type Tensors = Record<string, Tensor>;

export interface Computation {
  /** Layouts by the name of an input or output, where they are not the usual ones. */
  layouts?: Readonly<Record<string, Layout>>;
  module?: Module;
  /** From inputs to outputs, by their golden names. */
  forward: (inputs: Tensors) => Tensors | Promise<Tensors>;
  /** Which output is differentiated when none has an upstream gradient: a loss. */
  loss?: string;
}

/**
 * Loads the case's parameters and inputs, runs forward, differentiates the sum over all upstream
 * gradients of <up, out> (or the loss), and gives outputs and gradients.
 */
export async function differentiate(
  golden: GoldenCase,
  computation: Computation,
): Promise<Results> {
  const { module, forward, layouts = {}, loss } = computation;
  if (module) {
    await loadParameters(module, golden);
    if (golden.training) module.train();
    else module.eval();
  }
  const inputs = await readInputs(golden, layouts);
  const outputs = await forward(inputs);

  const results: Results = new Map();
  for (const [name, output] of Object.entries(outputs)) {
    results.set(
      `out.${name}`,
      await fromTensor(output, layouts[name] ?? usualLayout(output.shape)),
    );
  }
  const scalar = (await upstreamScalar(golden, outputs, layouts)) ?? (loss && outputs[loss]);
  if (!scalar || !scalar.requiresGrad) return results;
  scalar.backward();
  for (const [name, input] of Object.entries(inputs)) {
    if (!input.requiresGrad) continue;
    results.set(`grad.in.${name}`, await gradient(input, layouts[name]));
  }
  if (module) await readParameterGradients(module, results);
  module?.dispose();
  return results;
}

/** Gradients of all parameters, as `grad.param.KEY`. */
export async function readParameterGradients(module: Module, results: Results): Promise<void> {
  for (const [key, parameter] of module.namedParameters()) {
    if (parameter.requiresGrad) {
      results.set(`grad.param.${key}`, await gradient(parameter));
    }
  }
}

/** Values of all parameters, as `PREFIX.KEY`. */
export async function readParameters(
  module: Module,
  results: Results,
  prefix = 'param',
): Promise<void> {
  for (const [key, parameter] of module.namedParameters()) {
    results.set(`${prefix}.${key}`, await fromTensor(parameter));
  }
}

async function readInputs(
  golden: GoldenCase,
  layouts: Readonly<Record<string, Layout>>,
): Promise<Tensors> {
  const names = new Set([...golden.named('in.'), ...golden.inputs.named('in.')]);
  const inputs: Tensors = {};
  for (const name of names) {
    const values = (await golden.input(name))!;
    const wanted = golden.has(`grad.in.${name}`) || golden.has(`gradstat.in.${name}`);
    inputs[name] = toTensor(values, layouts[name], wanted);
  }
  return inputs;
}

async function upstreamScalar(
  golden: GoldenCase,
  outputs: Tensors,
  layouts: Readonly<Record<string, Layout>>,
): Promise<Tensor | undefined> {
  let total: Tensor | undefined;
  for (const [name, output] of Object.entries(outputs)) {
    const up = await golden.upstream(name);
    if (!up) continue;
    const seed = toTensor(up, layouts[name] ?? usualLayout(output.shape));
    const term = output.mul(seed.reshape(output.shape)).sum();
    total = total ? total.add(term) : term;
  }
  return total;
}

// without a path to the outputs a gradient is zero
function gradient(x: Tensor, layout?: Layout): Promise<Computed> {
  return fromTensor(x.grad ?? zerosLike(x), layout);
}
