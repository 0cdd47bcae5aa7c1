import { currentContext, withContext } from '../ownership.js';
import type { Tensor } from '../tensor.js';
import { Node, type Rule } from './node.js';

/** Runs body without recording; what it makes has no history. Follows `await` in an async body. */
export const noGrad = <T>(body: () => T): T => withContext({ grad: false }, body);

/** Records inside a `noGrad` region. */
export const enableGrad = <T>(body: () => T): T => withContext({ grad: true }, body);

/** Whether operations are recorded now. */
export const isGradEnabled = (): boolean => currentContext().grad;

export interface Recording<T extends Tensor | readonly Tensor[]> {
  /** Name in error messages: the public function's. */
  name: string;
  /** Every tensor the result depends on; missing optional ones stay in place as null. */
  inputs: readonly (Tensor | null | undefined)[];
  output: T;
  /** What the rule needs, kept alive until backward has run. */
  save?: readonly (Tensor | null | undefined)[];
  /** The gradient rule. An operation without one says so. */
  backward: Rule | 'not differentiable';
}

/**
 * Ends an operation: records it if gradients are on and an input requires one. Returns `output`.
 * The rule runs without recording; see {@link Rule}.
 */
export function op<T extends Tensor | readonly Tensor[]>(recording: Recording<T>): T {
  const { inputs, output, backward } = recording;
  if (backward === 'not differentiable') return output;
  if (!inputs.some((x) => x?.requiresGrad) || !isGradEnabled()) return output;
  attach(recording.name, inputs, output, recording.save ?? [], backward);
  return output;
}

/**
 * Records without asking whether an input requires a gradient.
 * @param closesOver the rule also serves leaves that are not among the inputs.
 * @internal
 */
export function attach(
  name: string,
  inputs: readonly (Tensor | null | undefined)[],
  output: Tensor | readonly Tensor[],
  save: readonly (Tensor | null | undefined)[],
  rule: Rule,
  closesOver = false,
): void {
  const infos = inputs.map((x) =>
    x ? { shape: x.shape, dtype: x.dtype, device: x.device } : null,
  );
  const node = new Node(name, infos, inputs, save, rule, closesOver);
  const outputs: readonly Tensor[] = Array.isArray(output) ? output : [output as Tensor];
  for (const y of outputs) {
    node.hold();
    y.node = node;
    y.nodeOutput = node.outputs.push({ shape: y.shape, dtype: y.dtype, device: y.device }) - 1;
  }
}
