// Two conditions of a picture at once.
import type { Device } from '../../device.js';
import { check } from '../../errors.js';
import { Tensor } from '../../tensor.js';
import type { Condition, ConditionSource, PreparedPicture } from '../condition.js';

/** What a hybrid conditioner takes: the maps of one source, and the tokens of another. */
export class HybridConditions<Map, Tokens> implements ConditionSource<readonly [Map, Tokens]> {
  constructor(
    private readonly concat: ConditionSource<Map>,
    private readonly crossattn: ConditionSource<Tokens>,
  ) {}

  async sample(picture: PreparedPicture): Promise<readonly [Map, Tokens]> {
    return [await this.concat.sample(picture), await this.crossattn.sample(picture)];
  }

  /** @throws ArgumentError when a source gives several tensors */
  batch(samples: readonly (readonly [Map, Tokens])[], device: Device): Record<string, Tensor> {
    const maps = samples.map(([map]) => map);
    const tokens = samples.map(([, each]) => each);
    return {
      concat: single('concat', this.concat.batch(maps, device)),
      crossattn: single('crossattn', this.crossattn.batch(tokens, device)),
    };
  }
}

function single(name: string, condition: Condition): Tensor {
  check(condition instanceof Tensor, () => {
    return `HybridConditions: the source of ${name} must give one tensor. Got ${Object.keys(condition).join(' and ')}.`;
  });
  return condition;
}
