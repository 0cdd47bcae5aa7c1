// Short forms that the adapters share.
import type { Module } from '../../../lib/index.js';
import type { Accuracy } from '../compare.js';
import { differentiate, type Computation, type Tensors } from '../differentiate.js';
import type { GoldenCase, Json } from '../golden.js';
import { Unsupported, type Adapter } from '../runner.js';

/** The case's arguments, checked: the adapter knows each of them, or skips the case by name. */
export class Arguments {
  readonly #used = new Set<string>();

  constructor(
    readonly what: string,
    readonly values: Json,
  ) {}

  number(name: string, fallback?: number): number {
    const value = this.#get(name) ?? fallback;
    if (typeof value !== 'number') throw new Error(`${this.what}: argument '${name}' is missing`);
    return value;
  }

  optional(name: string): number | undefined {
    return (this.#get(name) as number | null) ?? undefined;
  }

  flag(name: string, fallback = false): boolean {
    return (this.#get(name) as boolean | null) ?? fallback;
  }

  text(name: string, fallback?: string): string {
    const value = this.#get(name) ?? fallback;
    if (typeof value !== 'string') throw new Error(`${this.what}: argument '${name}' is missing`);
    return value;
  }

  list(name: string): number[] | undefined {
    return (this.#get(name) as number[] | null) ?? undefined;
  }

  /** Arguments without effect on the numbers. */
  ignore(...names: string[]): void {
    for (const name of names) this.#used.add(name);
  }

  /** Skips the case when it has arguments that nobody asked for. */
  done(): void {
    const unknown = Object.keys(this.values).filter((name) => !this.#used.has(name));
    if (unknown.length > 0) throw new Unsupported(`${this.what}: option ${unknown.join(', ')}`);
  }

  #get(name: string): unknown {
    this.#used.add(name);
    return this.values[name];
  }
}

interface Kind {
  /** what cases of this kind write as `op` or `module` */
  subject: string;
  accuracy: Accuracy;
  compute: (args: Arguments, golden: GoldenCase) => Computation | Promise<Computation>;
  informative?: RegExp;
  limit?: Adapter['limit'];
}

/** An adapter for cases that are one computation, differentiated. */
export function computation({ subject, compute, ...rest }: Kind): Adapter {
  return {
    name: subject,
    ...rest,
    handles: (golden) => golden.subject === subject,
    async run(golden) {
      const args = new Arguments(subject, golden.args);
      const computed = await compute(args, golden);
      args.done();
      return differentiate(golden, computed);
    },
  };
}

/** A module whose single output is `y`. */
export function layer<M extends Module>(
  module: M,
  forward: (module: M, inputs: Tensors) => Tensors,
): Computation {
  return { module, forward: (inputs) => forward(module, inputs) };
}
