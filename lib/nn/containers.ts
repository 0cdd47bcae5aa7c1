// Modules that hold others under the keys 0, 1, 2, ...
import { ArgumentError } from '../errors.js';
import type { Tensor } from '../tensor.js';
import { Module } from './module.js';
import { pipe } from './pipe.js';

// The items are the object's own numeric fields, so that their paths are the checkpoints' keys.
abstract class Indexed<M extends Module, In extends unknown[], Out> extends Module<In, Out> {
  readonly [index: number]: M;
  #length = 0;

  constructor(modules: Iterable<M>) {
    super();
    for (const module of modules) this.push(module);
  }

  get length(): number {
    return this.#length;
  }

  push(module: M): this {
    (this as Record<number, M>)[this.#length++] = module;
    return this;
  }

  *[Symbol.iterator](): Generator<M> {
    for (let i = 0; i < this.#length; i++) yield this[i];
  }

  /** The modules' forward passes, for {@link pipe}. */
  *calls(): Generator<(...args: In) => Out> {
    for (const module of this) yield (...args) => module.forward(...args) as Out;
  }
}

/** Layers one after the other: `new Sequential(conv, new SiLU(), conv2).forward(x)`. */
export class Sequential extends Indexed<Module<[Tensor], Tensor>, [Tensor], Tensor> {
  constructor(...layers: Module<[Tensor], Tensor>[]) {
    super(layers);
  }

  forward(x: Tensor): Tensor {
    return pipe(x, this.calls());
  }
}

/** A list of modules that its owner calls as it likes. */
export class ModuleList<M extends Module = Module> extends Indexed<M, never, never> {
  constructor(modules: Iterable<M> = []) {
    super(modules);
  }

  forward(): never {
    throw new ArgumentError(
      'ModuleList: a list has no forward; call its modules, or use Sequential.',
    );
  }
}
