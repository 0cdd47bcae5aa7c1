import { inspect } from 'node:util';
import { noGrad } from '../autograd/index.js';
import type { Device } from '../device.js';
import { isFloating, dtypes, type DType } from '../dtype.js';
import type { StateReader, TensorSource } from '../io/state.js';
import type { Tensor } from '../tensor.js';
import { childrenOf, mark, modulesOf, ModuleNode, slotsOf, type Role } from './fields.js';
import { drawTree } from './print.js';
import { exportState, importState, loadState, type LoadOptions, type LoadReport } from './state.js';

/**
 * Base of networks and their layers: a function with parameters.
 *
 * ```ts
 * class Block extends Module<[Tensor], Tensor> {
 *   conv_in = new Conv2d(3, 8, { kernelSize: 3, padding: 1 });
 *   scale = parameter(ones([8]));
 *   forward(x: Tensor): Tensor {
 *     return mul(this.conv_in.forward(x), this.scale);
 *   }
 * }
 * ```
 *
 * Parameters, buffers and submodules are what the object's own fields hold, in declaration order, also
 * inside arrays and plain objects: `{ 0: norm, 2: conv }` in a field `in_layers` gives the keys
 * `in_layers.0.weight`, `in_layers.2.weight`. The path of fields is the key in a checkpoint. `#private`
 * fields never count.
 */
// The defaults stand for "any module": with unknown, no module could be passed where any will do.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export abstract class Module<In extends unknown[] = any[], Out = any> extends ModuleNode {
  /** Whether layers such as dropout behave as in training; see {@link train}. */
  training = true;

  abstract forward(...args: In): Out;

  /** Trained tensors by path. One that is used in two places comes twice. */
  namedParameters(): Map<string, Tensor> {
    return this.#named('parameter');
  }

  /** Trained tensors, each once: what an optimizer takes. */
  parameters(): Tensor[] {
    return [...new Set(this.namedParameters().values())];
  }

  /** Tensors that are saved but not trained, by path. */
  namedBuffers(): Map<string, Tensor> {
    return this.#named('buffer');
  }

  buffers(): Tensor[] {
    return [...new Set(this.namedBuffers().values())];
  }

  /** This module under the path '' and every module below. */
  namedModules(): Map<string, Module> {
    return new Map(modulesOf(this) as Iterable<[string, Module]>);
  }

  modules(): Module[] {
    return [...new Set(this.namedModules().values())];
  }

  /** The modules directly below, by field path. */
  children(): Map<string, Module> {
    return new Map(childrenOf(this) as Iterable<[string, Module]>);
  }

  /** Number of trained values, shared ones counted once. */
  parameterCount(): number {
    return this.parameters().reduce((sum, tensor) => sum + tensor.numel, 0);
  }

  /** Switches dropout, batch norm and their like to training behaviour here and below. */
  train(mode = true): this {
    for (const module of this.modules()) module.training = mode;
    return this;
  }

  eval(): this {
    return this.train(false);
  }

  /** Freezes (false) or unfreezes all parameters. */
  requiresGrad_(flag = true): this {
    for (const tensor of this.parameters()) tensor.requiresGrad = flag;
    return this;
  }

  /** Drops the gradients of all parameters. */
  zeroGrad(): void {
    for (const tensor of this.parameters()) {
      tensor.grad?.dispose();
      tensor.grad = null;
    }
  }

  /**
   * Moves all tensors to a device, or converts the floating ones to a dtype. Tensors are replaced: make
   * the optimizer afterwards.
   */
  to(target: DType | Device | (string & {})): this {
    const toDType = (dtypes as readonly unknown[]).includes(target);
    const moved = new Map<Tensor, Tensor>();
    noGrad(() => {
      for (const { tensor, role, replace } of [...slotsOf(this)]) {
        if (toDType && !isFloating(tensor.dtype)) continue;
        let result = moved.get(tensor);
        if (!result) {
          result = tensor.to(target);
          if (result !== tensor) {
            mark(result, role);
            result.requiresGrad = tensor.requiresGrad;
            tensor.grad?.dispose();
            tensor.dispose();
          }
          moved.set(tensor, result);
        }
        replace(result);
      }
    });
    return this;
  }

  /** All parameters and buffers by path, as they lie in memory; no copies. */
  stateDict(): Map<string, Tensor> {
    return new Map([...slotsOf(this)].map(({ key, tensor }) => [key, tensor]));
  }

  /**
   * Copies values into the parameters and buffers; they stay the same objects. Floating dtypes are
   * converted.
   *
   * @param state tensors by path as in {@link stateDict}; not kept
   * @throws ArgumentError that lists every missing, unexpected and mismatched key
   */
  loadStateDict(
    state: ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>,
    options: LoadOptions = {},
  ): LoadReport {
    return loadState(this, state instanceof Map ? state : new Map(Object.entries(state)), options);
  }

  /**
   * All parameters and buffers for a file: PyTorch's layout under the original keys, each made when it
   * is written. Take no training step until the file is complete.
   *
   * @param valuesOf other values for a tensor, of its shape, such as its moving average. Default: its own
   */
  exportState(
    valuesOf: (tensor: Tensor) => Tensor = (tensor) => tensor,
  ): Map<string, TensorSource> {
    return exportState(this, valuesOf);
  }

  /**
   * As {@link loadStateDict}, from a file in PyTorch's layout. Every key is checked before the first
   * value is read; then one tensor at a time is in memory beside the module.
   *
   * ```ts
   * await model.importState(await readSafetensors('model.safetensors'));
   * ```
   */
  importState(reader: StateReader, options: LoadOptions = {}): Promise<LoadReport> {
    return importState(this, reader, options);
  }

  /** Gives back the memory of all parameters, gradients and buffers. */
  dispose(): void {
    this.zeroGrad();
    for (const tensor of this.stateDict().values()) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** The tree of modules with their facts, shapes and parameter counts. */
  override toString(): string {
    return drawTree(this);
  }

  [inspect.custom](): string {
    return drawTree(this);
  }

  #named(role: Role): Map<string, Tensor> {
    const slots = [...slotsOf(this)].filter((slot) => slot.role === role);
    return new Map(slots.map(({ key, tensor }) => [key, tensor]));
  }
}
