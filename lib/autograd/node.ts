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

/** One recorded operation. Holds references of its own on what it saved, until backward has used them. */
export class Node implements History {
  /** Later operations have higher numbers: the walk goes down. */
  readonly sequence = tick();
  readonly edges: Edge[];
  readonly outputs: TensorInfo[] = [];
  hooks: Map<number, Hook[]> | null = null;
  private saved: (Saved | undefined)[] | null;

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

  release(): void {
    this.rule = null;
    if (!this.saved) return;
    for (const x of this.saved) x?.memory.release();
    this.saved = null;
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
