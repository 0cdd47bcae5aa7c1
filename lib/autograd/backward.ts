import { native, type Id } from '../native.js';
import { currentScope, Scope, withContext } from '../ownership.js';
import { check, checkShape, DTypeError, EmulsionError, ShapeError } from '../errors.js';
import { currentRecording } from '../recording.js';
import { empty, noteWritten, Tensor } from '../tensor.js';
import type { Edge, Hook, Node, TensorInfo } from './node.js';

const kernels = native<{
  accumulate(into: Id, add: Id): void;
  copy(x: Id, y: Id): void;
  fill(value: number, y: Id): void;
  sum_to(x: Id, y: Id): void;
}>('accumulate', 'copy', 'fill', 'sum_to');

const leafHooks = new WeakMap<Tensor, Hook[]>();

const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((dim, i) => dim === b[i]);

function filled(value: number, like: TensorInfo): Tensor {
  const y = empty(like.shape, like);
  kernels.fill(value, y.id);
  return y;
}

function copyOf(x: Tensor): Tensor {
  const y = empty(x.shape, x);
  kernels.copy(x.id, y.id);
  return y;
}

// The gradient of a tensor as its rule gave it, summed over the axes that were broadcast, and checked.
function fit(grad: Tensor, target: TensorInfo, node: Node, input: number): Tensor {
  if (grad.dtype !== target.dtype)
    throw new DTypeError(
      `backward of ${node.name}: the gradient of input ${input} is ${grad.dtype}, the input ${target.dtype}`,
    );
  if (sameShape(grad.shape, target.shape)) return grad;
  const pad = grad.rank - target.shape.length;
  if (pad < 0 || !target.shape.every((dim, i) => dim === grad.shape[i + pad] || dim === 1))
    throw new ShapeError(
      `backward of ${node.name}: the gradient of input ${input} has shape [${grad.shape.join(', ')}], ` +
        `the input [${target.shape.join(', ')}]`,
    );
  const y = empty(target.shape, target);
  kernels.sum_to(grad.id, y.id);
  return y;
}

// Hooks see a handle of their own, which they may keep; what they give back may be the caller's to keep.
function runHooks(hooks: Hook[] | undefined, grad: Tensor): Tensor {
  let current = grad;
  for (const hook of hooks ?? []) {
    const scope = currentScope();
    const seen = current.alias();
    const replaced = hook(seen);
    if (!(replaced instanceof Tensor) || replaced === seen) {
      if (seen.scope === scope) seen.dispose();
      continue;
    }
    check(
      sameShape(replaced.shape, current.shape),
      () =>
        `hook: returned shape [${replaced.shape.join(', ')}] for a gradient of shape [${current.shape.join(', ')}]`,
    );
    current = replaced.scope === scope ? replaced : replaced.alias();
    if (seen.scope === scope) seen.dispose();
  }
  return current;
}

/** Sum of what arrived for one place. Owns its memory alone before it writes to it. */
function add(sum: Tensor | undefined, grad: Tensor): Tensor {
  if (!sum) return grad;
  const target = sum.memory.shared ? copyOf(sum) : sum;
  kernels.accumulate(target.id, grad.id);
  grad.dispose();
  if (target !== sum) sum.dispose();
  return target;
}

// Nodes below the root, restricted to those on a way to a wanted tensor if there are any.
function collect(roots: readonly Tensor[], wanted: readonly Tensor[] | null): Set<Node> {
  const found = new Set<Node>();
  const pending = roots.flatMap((root) => (root.node ? [root.node as Node] : []));
  for (let node = pending.pop(); node; node = pending.pop()) {
    if (found.has(node)) continue;
    found.add(node);
    pending.push(...node.parents());
  }
  if (!wanted) return found;
  const leaves = new Set(wanted.filter((x) => !x.node));
  const targets = new Set(wanted.map((x) => x.node).filter((node) => node !== null));
  const useful = new Set<Node>();
  // Parents come before their children in sequence order.
  for (const node of [...found].sort((a, b) => a.sequence - b.sequence))
    if (
      targets.has(node) ||
      node.edges.some(
        (edge) => edge && ('node' in edge ? useful.has(edge.node) : leaves.has(edge.leaf)),
      )
    )
      useful.add(node);
  return useful;
}

/** One call of backward() or grad(): where the gradients of leaves end up. */
interface Session {
  readonly leaves: Map<Tensor, Tensor>;
  /** Null: every leaf that requires a gradient. */
  readonly wanted: readonly Tensor[] | null;
  /** Gradients of wanted tensors that are no leaves. */
  readonly inner: Map<Tensor, Tensor>;
  /** Owns all of these. */
  readonly scope: Scope;
}

// The rule of a checkpointed region walks a graph of its own, and reports to the session it runs in.
let session: Session | null = null;

/**
 * Walks the graph below the roots, latest operation first, so that each node has all its gradients when
 * its turn comes. Runs inside the session.
 * @internal
 */
export function walk(
  roots: readonly Tensor[],
  seeds: readonly Tensor[],
  retainGraph: boolean,
): void {
  const { leaves, wanted, inner, scope } = session!;
  const nodes = collect(roots, wanted);
  const sums = new Map<Node, (Tensor | undefined)[]>();

  const arrive = (edge: Edge, grad: Tensor): void => {
    if (!edge) return;
    if ('leaf' in edge) {
      const sum = add(leaves.get(edge.leaf), grad);
      sum.scope?.give(sum, scope);
      leaves.set(edge.leaf, sum);
    } else {
      let slots = sums.get(edge.node);
      if (!slots) sums.set(edge.node, (slots = new Array<undefined>(edge.node.outputs.length)));
      slots[edge.output] = add(slots[edge.output], grad);
    }
  };
  const isNeeded = (edge: Edge): boolean =>
    edge !== null &&
    ('node' in edge ? nodes.has(edge.node) : wanted === null || wanted.includes(edge.leaf));

  const order = [...nodes].sort((a, b) => b.sequence - a.sequence);
  // What one operation gives up may have been all that held another, whose turn is still to come.
  for (const node of order) node.hold();
  try {
    roots.forEach((root, i) => {
      if (!root.requiresGrad) return;
      const edge: Edge = root.node
        ? { node: root.node as Node, output: root.nodeOutput }
        : { leaf: root };
      if (isNeeded(edge)) arrive(edge, seeds[i].alias());
    });
    for (const node of order) {
      const slots = sums.get(node);
      if (!slots) continue;
      sums.delete(node);
      const arrived = node.outputs.map((info, i) =>
        runHooks(node.hooks?.get(i), slots[i] ?? filled(0, info)),
      );
      for (const x of wanted ?? [])
        if (x.node === node) inner.set(x, arrived[x.nodeOutput].alias());
      const needs = node.edges.map(isNeeded);
      const handed = needs.includes(true) || node.closesOver ? applyRule(node, arrived, needs) : [];
      // Memory falls as the walk proceeds: what this node held is free before its gradients are added up.
      for (const grad of new Set([...slots, ...arrived])) grad?.dispose();
      if (!retainGraph) node.release();
      handed.forEach((grad, i) => grad && arrive(node.edges[i], grad));
    }
  } finally {
    for (const node of order) node.drop();
  }
}

// What a rule makes on its way belongs to a scope of its own; only handles on its results leave it.
function applyRule(node: Node, grads: Tensor[], needs: boolean[]): (Tensor | null)[] {
  const temporaries = new Scope();
  try {
    const results = withContext({ scope: temporaries }, () =>
      node
        .apply(grads, needs)
        .map((grad, i) => (grad && needs[i] ? fit(grad, node.inputs[i]!, node, i) : null)),
    );
    return results.map((grad) => grad && grad.alias());
  } finally {
    temporaries.close();
  }
}

/**
 * Walks the graph of a recomputed region from inside its rule. Returns the gradients of the region's own
 * leaves; those of all others go to the running session.
 * @internal
 */
export function walkRegion(
  roots: readonly Tensor[],
  seeds: readonly Tensor[],
  own: readonly Tensor[],
): (Tensor | null)[] {
  const outer = session!;
  session = { ...outer, wanted: outer.wanted && [...outer.wanted, ...own] };
  try {
    walk(roots, seeds, false);
  } finally {
    session = outer;
  }
  return own.map((leaf) => {
    const grad = outer.leaves.get(leaf);
    outer.leaves.delete(leaf);
    return grad ?? null;
  });
}

function startSession<T>(wanted: readonly Tensor[] | null, body: (session: Session) => T): T {
  check(
    session === null,
    () => 'backward: called inside a gradient rule; use op() with a rule instead',
  );
  const scope = new Scope();
  session = { leaves: new Map(), wanted, inner: new Map(), scope };
  try {
    const own = session;
    // Rules run in the dtypes of their forward pass, whatever surrounds backward().
    return withContext({ grad: false, scope, precision: null }, () => body(own));
  } finally {
    session = null;
    scope.close();
  }
}

function seedFor(root: Tensor, gradient: Tensor | undefined, name: string): Tensor {
  if (!root.requiresGrad)
    throw new EmulsionError(
      `${name}: ${root.describe()} has no history: nothing it was computed from requires a gradient, or it was ` +
        'made inside noGrad()',
      'ERR_NO_HISTORY',
    );
  if (gradient) {
    checkShape(
      sameShape(gradient.shape, root.shape) && gradient.dtype === root.dtype,
      () => `${name}: the gradient is ${gradient.describe()}, the output ${root.describe()}`,
    );
    return gradient;
  }
  checkShape(
    root.numel === 1,
    () =>
      `${name}: an output of shape [${root.shape.join(', ')}] needs a gradient; reduce it to one value or give one`,
  );
  return filled(1, root);
}

export interface BackwardOptions {
  /** Keep what operations saved, for a second walk. Default false. */
  retainGraph?: boolean;
}

/**
 * Computes the gradient of `output` with respect to every leaf that requires one and adds it to the
 * leaf's `grad`. What operations saved is given up as the walk proceeds.
 *
 * @throws EmulsionError (`ERR_OVERWRITTEN`) where values that a gradient needs were written over since the forward
 * pass, such as weights by an optimizer's step.
 * @param gradient upstream gradient of output's shape and dtype; default 1 for a single value.
 */
export function backward(output: Tensor, gradient?: Tensor, options: BackwardOptions = {}): void {
  startSession(null, ({ leaves }) => {
    walk([output], [seedFor(output, gradient, 'backward')], options.retainGraph ?? false);
    for (const [leaf, sum] of leaves) {
      currentRecording()?.leaves.add(leaf);
      let grad = runHooks(leafHooks.get(leaf), sum);
      if (leaf.grad) {
        kernels.accumulate(leaf.grad.id, grad.id);
        noteWritten([leaf.grad]);
      } else {
        // Optimizers and clipping write to gradients in place.
        if (grad.memory.shared) grad = copyOf(grad);
        leaf.grad = grad;
      }
    }
  });
}

export interface GradOptions extends BackwardOptions {
  /** Upstream gradient of the output; default 1 for a single value. */
  gradOutput?: Tensor;
}

/**
 * The gradients of `output` with respect to `inputs` alone, as new tensors; no leaf's `grad` changes. An
 * input that the output does not depend on gets zeros.
 */
export function grad(
  output: Tensor,
  inputs: readonly Tensor[],
  options: GradOptions = {},
): Tensor[] {
  for (const x of inputs)
    check(x.requiresGrad, () => `grad: input ${x.describe()} does not require a gradient`);
  const owner = currentScope();
  return startSession(inputs, ({ leaves, inner, scope }) => {
    walk([output], [seedFor(output, options.gradOutput, 'grad')], options.retainGraph ?? false);
    return inputs.map((x) => {
      const found = inner.get(x) ?? leaves.get(x);
      // The same input may be asked for twice.
      const result = found
        ? (x.node ? found : runHooks(leafHooks.get(x), found)).alias()
        : filled(0, x);
      scope.give(result, owner);
      return result;
    });
  });
}

/**
 * Calls `hook` with the gradient of `x` each time one is computed; a tensor it returns replaces the
 * gradient. Returns a function that removes the hook.
 */
export function registerHook(x: Tensor, hook: Hook): () => void {
  check(x.requiresGrad, () => `registerHook: ${x.describe()} does not require a gradient`);
  let hooks: Hook[];
  if (x.node) {
    const node = x.node as Node;
    node.hooks ??= new Map();
    hooks = node.hooks.get(x.nodeOutput) ?? [];
    node.hooks.set(x.nodeOutput, hooks);
  } else {
    hooks = leafHooks.get(x) ?? [];
    leafHooks.set(x, hooks);
  }
  hooks.push(hook);
  return () => {
    const index = hooks.indexOf(hook);
    if (index >= 0) hooks.splice(index, 1);
  };
}
