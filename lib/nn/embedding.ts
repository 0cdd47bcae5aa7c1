import { checkOptions } from '../checks.js';
import { embedding } from '../ops/index.js';
import { empty, type Tensor } from '../tensor.js';
import { parameter } from './fields.js';
import { normal_, type InitOptions } from './init.js';
import { Module } from './module.js';

/** A table of vectors: integer ids [...] → [..., features]. Starts with standard normals. */
export class Embedding extends Module<[ids: Tensor], Tensor> {
  readonly weight: Tensor; // [count, features]

  constructor(
    readonly count: number,
    readonly features: number,
    options: InitOptions = {},
  ) {
    super();
    checkOptions('Embedding', options);
    this.weight = parameter(normal_(empty([count, features], options), 0, 1, options.generator));
  }

  forward(ids: Tensor): Tensor {
    return embedding(this.weight, ids);
  }

  override facts(): string {
    return `${this.count} × ${this.features}`;
  }
}
