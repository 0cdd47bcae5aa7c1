import type { History } from '../ownership.js';
import { Tensor, tick, type Reference } from '../tensor.js';
import { EmulsionError } from '../errors.js';
import type { Device } from '../device.js';
import type { DType } from '../dtype.js';

/**
 * Gradients of the inputs from those of the outputs: one per input, or null. A gradient may have the
 * shape that the input was broadcast to. Work for inputs with `needs[i]` false can be left out.
 */
export type Rule = (
  grads: Tensor[],
  saved: Tensor[],
  needs: boolean[],
) => (Tensor | null | undefined)[];

/** What the walk must know of a tensor without keeping its memory. */
export interface TensorInfo {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly device: Device;
}

/** Where an input's gradient goes: to the operation that made it, or to a leaf. */
export type Edge =
  { readonly node: Node; readonly output: number } | { readonly leaf: Tensor } | null;

/** @param grad the gradient of one tensor; a returned tensor takes its place. */
export type Hook = (grad: Tensor) => Tensor | void;

interface Saved extends TensorInfo {
  readonly memory: Reference;
}

/** What an operation saved and others wrote over: a rule may ask for its shape, but not for its values. */
class Overwritten extends Tensor {
  constructor(
    private readonly op: string,
    { memory, shape, dtype, device }: Saved,
  ) {
    super(memory, shape, dtype, device);
  }

  override get memory(): never {
    throw new EmulsionError(
      `backward: ${this.op} saved ${this.describe()} for its gradient, and the values were written over since, by ` +
        'an optimizer, loadStateDict, an average, an initialiser or a captured step. Call backward() before ' +
        `that, or give ${this.op} a copy, such as x.mul(1).`,
      'ERR_OVERWRITTEN',
    );
  }
}

/**
 * One recorded operation. Holds references of its own on what it saved, until backward has used them or nobody
 * is left who could ask: neither a tensor that it made nor an operation that used one.
 */
export class Node implements History {
  /** Later operations have higher numbers: the walk goes down. */
  readonly sequence = tick();
  readonly edges: Edge[];
  readonly outputs: TensorInfo[] = [];
  hooks: Map<number, Hook[]> | null = null;
  private saved: (Saved | undefined)[] | null;
  private holders = 0;

  constructor(
    readonly name: string,
    readonly inputs: (TensorInfo | null)[],
    tensors: readonly (Tensor | null | undefined)[],
    saved: readonly (Tensor | null | undefined)[],
    private rule: Rule | null,
    /** The rule must run even if no input needs a gradient. */
    readonly closesOver = false,
  ) {
    this.edges = tensors.map(edgeTo);
    for (const edge of this.edges) if (edge && 'node' in edge) edge.node.hold();
    this.saved = saved.map((x) =>
      x
        ? { memory: x.memory.retain(), shape: x.shape, dtype: x.dtype, device: x.device }
        : undefined,
    );
  }

  /** Runs the rule. The tensors it makes belong to the surrounding scope. */
  apply(grads: Tensor[], needs: boolean[]): (Tensor | null | undefined)[] {
    if (!this.rule || !this.saved)
      throw new EmulsionError(
        `backward: ${this.name} has already given up what it saved. A second walk over the same graph needs ` +
          'retainGraph: true in the first.',
        'ERR_GRAPH_FREED',
      );
    const saved = this.saved.map((x) => x && this.handleOn(x)) as Tensor[];
    return this.rule(grads, saved, needs);
  }

  private handleOn(x: Saved): Tensor {
    x.memory.retain();
    if (x.memory.written > this.sequence) return new Overwritten(this.name, x);
    return new Tensor(x.memory, x.shape, x.dtype, x.device);
  }

  /** One more tensor, operation or walk can ask for the gradient. */
  hold(): void {
    ++this.holders;
  }

  drop(): void {
    if (--this.holders === 0) this.release();
  }

  /** Gives up what was saved, and with it what only this operation could ask for. */
  release(): void {
    if (!this.saved) return;
    const pending: Node[] = [this]; // histories are deeper than the stack
    for (let node = pending.pop(); node; node = pending.pop()) {
      for (const x of node.saved ?? []) x?.memory.release();
      node.rule = node.saved = null;
      for (const edge of node.edges)
        if (edge && 'node' in edge && --edge.node.holders === 0 && edge.node.saved)
          pending.push(edge.node);
    }
  }

  *parents(): Iterable<Node> {
    for (const edge of this.edges) if (edge && 'node' in edge) yield edge.node;
  }
}

function edgeTo(x: Tensor | null | undefined): Edge {
  if (!x) return null;
  if (x.node) return { node: x.node as Node, output: x.nodeOutput };
  return x.requiresGrad ? { leaf: x } : null;
}
