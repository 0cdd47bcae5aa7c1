// What pictures are conditioned on, made beside them: class ids aside, it depends on what was cut out of each.
import type { Device } from '../device.js';
import type { DrawnBox } from '../io/draw_boxes.js';
import type { Tensor } from '../tensor.js';
import type { ImageItem } from './dataset.js';
import type { Region } from './transform.js';

/** One picture of a batch as it is trained on, and where it comes from. */
export interface PreparedPicture {
  /** Number in its data set. */
  readonly index: number;
  readonly item: ImageItem;
  /** [size, size, channels]. */
  readonly image: Uint8Array;
  readonly size: number;
  readonly channels: 1 | 3;
  readonly region: Region;
  /**
   * What is random about a picture is a function of these and its index, so that it does not depend on
   * timing: `uniforms(seed, stream, epoch, index)` with a stream of one's own.
   */
  readonly key: { readonly seed: number; readonly epoch: number };
}

/** A batch's conditions: one tensor, or several by the names that the model takes them under. */
export type Condition = Tensor | { readonly [name: string]: Condition };

/** What tokens say, for people: a text, or boxes in shares of the picture. */
export type ConditionWords = string | readonly DrawnBox[];

/** Makes conditions: captions as tokens, boxes as tokens, label maps, small or masked pictures. */
export interface ConditionSource<S = unknown> {
  /**
   * That of one picture, a function of its argument alone.
   * @throws FileError when what it reads is damaged: the picture counts as damaged
   */
  sample(picture: PreparedPicture): S | Promise<S>;
  /** Those of a batch, on its device. Whoever takes the batch disposes them. */
  batch(samples: readonly S[], device: Device): Condition;
  /** What a batch's tokens say, one entry for each picture. Default: nobody knows, or there are no tokens. */
  describe?(tokens: readonly (readonly number[])[]): readonly ConditionWords[];
  /** Writes into a trained model's folder what it takes to make such conditions again. Default: nothing. */
  save?(folder: string): Promise<void>;
}
