import { checkOptions } from '../checks.js';
import { check } from '../errors.js';
import { conv2d, type Conv2dOptions } from '../ops/index.js';
import { empty, type Tensor } from '../tensor.js';
import { parameter } from './fields.js';
import { oihw, type FileLayout } from './file_layout.js';
import { kaimingUniform_, uniform_, type InitOptions } from './init.js';
import { Module } from './module.js';

/** Where and how the kernel is applied: options of the function `conv2d`. */
type Geometry = Pick<Conv2dOptions, 'stride' | 'padding' | 'dilation' | 'groups'>;

/** What `conv2d` can do in the same pass: add, activate. */
export type Conv2dFusion = Omit<Conv2dOptions, keyof Geometry>;

export interface Conv2dLayerOptions extends InitOptions, Geometry {
  /** Side of the square kernel, or [height, width]. */
  kernelSize: number | readonly [height: number, width: number];
  /** Whether to add a bias. Default true. */
  bias?: boolean;
}

/**
 * Convolution of channels-last pictures: [N, H, W, in] → [N, P, Q, out].
 *
 * The weight lies in memory as [out, R, S, in / groups] and in files as PyTorch has it,
 * [out, in / groups, R, S]. Weight and bias start uniform in ±1/√(in / groups · R · S).
 */
export class Conv2d extends Module<[x: Tensor, fusion?: Conv2dFusion], Tensor> {
  readonly weight: Tensor; // [K, R, S, C / groups]
  readonly bias: Tensor | null; // [K]
  readonly #geometry: Geometry;

  constructor(
    readonly inChannels: number,
    readonly outChannels: number,
    options: Conv2dLayerOptions,
  ) {
    super();
    checkOptions('Conv2d', options);
    const { kernelSize, stride, padding, dilation, groups = 1, bias = true, generator } = options;
    const [r, s] = typeof kernelSize === 'number' ? [kernelSize, kernelSize] : kernelSize;
    check(inChannels >= 1 && outChannels >= 1 && r >= 1 && s >= 1, () => {
      const channels = `${inChannels} → ${outChannels}`;
      return `Conv2d: channels and kernel must be at least 1, got ${channels} and ${r}×${s}`;
    });
    check(inChannels % groups === 0 && outChannels % groups === 0, () => {
      const channels = `channels (${inChannels} → ${outChannels})`;
      return `Conv2d: ${channels} must be divisible by groups (${groups})`;
    });
    const fanIn = (inChannels / groups) * r * s;
    const bound = 1 / Math.sqrt(fanIn);
    const weight = empty([outChannels, r, s, inChannels / groups], options);
    this.weight = parameter(kaimingUniform_(weight, fanIn, generator));
    this.bias = bias
      ? parameter(uniform_(empty([outChannels], options), -bound, bound, generator))
      : null;
    this.#geometry = { stride, padding, dilation, groups };
  }

  /** @param fusion what follows the layer, done in the same pass; see `conv2d` */
  forward(x: Tensor, fusion: Conv2dFusion = {}): Tensor {
    return conv2d(x, this.weight, this.bias, { ...this.#geometry, ...fusion });
  }

  override facts(): string {
    const facts = [`${this.inChannels} → ${this.outChannels}`];
    const [, r, s] = this.weight.shape;
    facts.push(`kernel ${r === s ? r : `${r}×${s}`}`);
    for (const [name, value] of Object.entries(this.#geometry)) {
      const isDefault = value === undefined || (name === 'groups' && value === 1);
      if (!isDefault)
        facts.push(`${name} ${typeof value === 'number' ? value : JSON.stringify(value)}`);
    }
    return facts.join(', ');
  }

  override fileLayout(field: string): FileLayout | null {
    return field === 'weight' ? oihw : null;
  }
}
