// Shape and layout as methods of Tensor; each is the function of the same name.
import { Tensor } from '../tensor.js';
import * as layout from './layout.js';

declare module '../tensor.js' {
  interface Tensor {
    /** See {@link layout.permute}. */
    permute(axes: readonly number[]): Tensor;
    /** See {@link layout.transpose}. */
    transpose(a?: number, b?: number): Tensor;
    /** See {@link layout.slice}. */
    slice(ranges: readonly layout.SliceRange[]): Tensor;
    /** See {@link layout.narrow}. */
    narrow(axis: number, start: number, length: number): Tensor;
    /** See {@link layout.select}. */
    select(axis: number, index: number): Tensor;
    /** See {@link layout.split}. */
    split(sizes: readonly number[], axis?: number): Tensor[];
    /** See {@link layout.chunk}. */
    chunk(count: number, axis?: number): Tensor[];
    /** See {@link layout.flip}. */
    flip(axes: number | readonly number[]): Tensor;
    /** See {@link layout.expand}. */
    expand(shape: readonly number[]): Tensor;
    /** See {@link layout.tile}. */
    tile(repeats: readonly number[]): Tensor;
    /** See {@link layout.squeeze}. */
    squeeze(axis?: number): Tensor;
    /** See {@link layout.unsqueeze}. */
    unsqueeze(axis: number): Tensor;
    /** See {@link layout.flatten}. */
    flatten(start?: number, end?: number): Tensor;
  }
}

const {
  permute,
  transpose,
  slice,
  narrow,
  select,
  split,
  chunk,
  flip,
  expand,
  tile,
  squeeze,
  unsqueeze,
  flatten,
} = layout;
const functions = {
  permute,
  transpose,
  slice,
  narrow,
  select,
  split,
  chunk,
  flip,
  expand,
  tile,
  squeeze,
  unsqueeze,
  flatten,
};

for (const [name, call] of Object.entries(functions) as [
  string,
  (x: Tensor, ...rest: never[]) => unknown,
][])
  Object.defineProperty(Tensor.prototype, name, {
    value(this: Tensor, ...rest: never[]) {
      return call(this, ...rest);
    },
    writable: true,
    configurable: true,
  });
