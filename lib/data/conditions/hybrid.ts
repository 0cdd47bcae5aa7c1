// Two conditions of a picture at once.
import type { Device } from '../../device.js';
import { check } from '../../errors.js';
import { Tensor } from '../../tensor.js';
import type { Condition, ConditionSource, ConditionWords, PreparedPicture } from '../condition.js';

/** What a hybrid conditioner takes: the maps of one source, or its masked pictures, and the tokens of another. */
export class HybridConditions<Map, Tokens> implements ConditionSource<readonly [Map, Tokens]> {
  constructor(
    private readonly concat: ConditionSource<Map>,
    private readonly crossattn: ConditionSource<Tokens>,
  ) {}

  async sample(picture: PreparedPicture): Promise<readonly [Map, Tokens]> {
    return [await this.concat.sample(picture), await this.crossattn.sample(picture)];
  }

  /** @throws ArgumentError when the source of tokens gives several tensors */
  batch(
    samples: readonly (readonly [Map, Tokens])[],
    device: Device,
  ): { concat: Condition; crossattn: Tensor } {
    const tokens = this.crossattn.batch(
      samples.map(([, each]) => each),
      device,
    );
    check(tokens instanceof Tensor, () => {
      return `HybridConditions: the source of crossattn must give one tensor. Got ${Object.keys(tokens).join(' and ')}.`;
    });
    const maps = samples.map(([map]) => map);
    return { concat: this.concat.batch(maps, device), crossattn: tokens };
  }

  describe(tokens: readonly (readonly number[])[]): readonly ConditionWords[] {
    return this.crossattn.describe?.(tokens) ?? [];
  }

  async save(folder: string): Promise<void> {
    await this.concat.save?.(folder);
    await this.crossattn.save?.(folder);
  }
}
