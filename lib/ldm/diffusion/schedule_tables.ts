/** The schedule's tables as tensors, on the devices and in the dtypes where they are asked for. */
import { tensor } from '../../creation.js';
import { checkShape } from '../../errors.js';
import { indexSelect } from '../../ops/index.js';
import { keep } from '../../scope.js';
import type { Tensor } from '../../tensor.js';
import type { NoiseSchedule } from './schedule.js';

const stored = [
  'sqrtAlphasCumprod',
  'sqrtOneMinusAlphasCumprod',
  'logOneMinusAlphasCumprod',
  'sqrtRecipAlphasCumprod',
  'sqrtRecipm1AlphasCumprod',
  'posteriorVariance',
  'posteriorLogVarianceClipped',
  'posteriorMeanCoef1',
  'posteriorMeanCoef2',
] as const;

export type TableName = (typeof stored)[number] | 'oneMinusAlphasCumprod';

export class ScheduleTables {
  readonly #tables: Readonly<Record<TableName, Float32Array>>;
  readonly #uploaded = new Map<string, Tensor>();

  constructor(schedule: NoiseSchedule) {
    this.#tables = {
      ...(Object.fromEntries(stored.map((name) => [name, schedule[name]])) as Record<
        (typeof stored)[number],
        Float32Array
      >),
      oneMinusAlphasCumprod: schedule.alphasCumprod.map((a) => 1 - a),
    };
  }

  /** Looks up tables at t: entries are shaped [N, 1, ...] to go with x, and have its dtype. */
  lookUp(x: Tensor, t: Tensor): (name: TableName) => Tensor {
    checkShape(t.rank === 1 && t.shape[0] === x.shape[0], () => {
      return (
        `diffusion: t must be [${x.shape[0]}], one timestep per sample. ` +
        `Got [${t.shape.join(', ')}] beside x of [${x.shape.join(', ')}].`
      );
    });
    const shape = x.shape.map((extent, axis) => (axis === 0 ? extent : 1));
    return (name) => indexSelect(this.#upload(name, this.#tables[name], x), 0, t).reshape(shape);
  }

  /** Weights of timesteps [T], which always come under the same name, at t: [N] in x's dtype. */
  weights(name: string, weights: Float32Array, x: Tensor, t: Tensor): Tensor {
    return indexSelect(this.#upload(name, weights, x), 0, t);
  }

  dispose(): void {
    for (const table of this.#uploaded.values()) table.dispose();
    this.#uploaded.clear();
  }

  #upload(name: string, values: Float32Array, like: Tensor): Tensor {
    const key = `${name} ${like.device.name} ${like.dtype}`;
    let table = this.#uploaded.get(key);
    if (!table) {
      // outlives the scope in which it was first needed
      table = keep(tensor(values, { dtype: like.dtype, device: like.device }));
      this.#uploaded.set(key, table);
    }
    return table;
  }
}
