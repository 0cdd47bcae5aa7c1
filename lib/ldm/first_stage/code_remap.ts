/** Indices counted among the codes in use: a shorter vocabulary for models that predict codes. */
import { noGrad } from '../../autograd/index.js';
import { arange, ones, zeros } from '../../creation.js';
import { indexAdd, indexSelect, where } from '../../ops/index.js';
import { randint } from '../../random.js';
import { tidy } from '../../scope.js';
import type { Tensor } from '../../tensor.js';

/** What a code outside the used ones becomes: a random used one, a token of its own, or this index. */
export type UnknownIndex = 'random' | 'extra' | number;

/** How many indices there are: one per used code, and one more for unknown codes where that is `extra`. */
export function remappedCount(used: number, unknown: UnknownIndex): number {
  return unknown === 'extra' ? used + 1 : used;
}

/**
 * Position of each code among the used ones.
 *
 * @param indices int64 [N], below `codes`
 * @param used int64 [n], distinct codes below `codes`
 * @returns int64 [N]; random positions come from the global generator
 */
export function toUsed(
  indices: Tensor,
  used: Tensor,
  codes: number,
  unknown: UnknownIndex,
): Tensor {
  const { device } = indices;
  const map = () => {
    const table = (values: Tensor) =>
      indexSelect(indexAdd(zeros([codes], { device }), 0, used, values), 0, indices);
    const position = table(arange(0, used.numel, 1, { device })).to('int64');
    const known = table(ones([used.numel], { device })).gt(0);
    const substitute =
      unknown === 'random'
        ? randint(0, used.numel, indices.shape, { device })
        : unknown === 'extra'
          ? used.numel
          : unknown;
    return where(known, position, substitute);
  };
  return tidy(() => noGrad(map));
}

/** The code at each position among the used ones; the extra token becomes the first used code. */
export function fromUsed(positions: Tensor, used: Tensor): Tensor {
  return tidy(() => {
    const flat = positions.reshape([-1]);
    const inside = where(flat.lt(used.numel), flat, 0);
    return indexSelect(used, 0, inside).reshape(positions.shape);
  });
}
