import { op } from '../autograd/index.js';
import { checkTensors } from '../checks.js';
import { check, checkShape } from '../errors.js';
import { native, type Id } from '../native.js';
import { empty, type Tensor } from '../tensor.js';
import { slice } from './layout.js';

const kernels = native<{
  pad_forward(x: Id, before: readonly number[], mode: number, value: number, y: Id): void;
  pad_backward(dy: Id, before: readonly number[], mode: number, dx: Id): void;
}>('pad_forward', 'pad_backward');

const modes = { constant: 0, reflect: 1, replicate: 2 } as const;

export interface PadOptions {
  /** What fills a constant pad. Default 0. */
  value?: number;
  /** `'reflect'` mirrors without repeating the edge, `'replicate'` repeats the edge. Default `'constant'`. */
  mode?: keyof typeof modes;
}

/**
 * Grows a tensor at its borders. `pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]])` adds a row below and a column right of
 * NHWC images.
 * @param pads `[before, after]` for each axis.
 * @throws ShapeError when reflecting reaches further than the axis.
 */
export function pad(
  x: Tensor,
  pads: readonly (readonly [number, number])[],
  options: PadOptions = {},
): Tensor {
  const { value = 0, mode = 'constant' } = options;
  checkTensors('pad', { x });
  check(
    Object.hasOwn(modes, mode),
    () => `pad: mode must be one of ${Object.keys(modes).join(', ')}; got '${mode}'`,
  );
  checkShape(
    pads.length === x.rank,
    () =>
      `pad: expected [before, after] for each of the ${x.rank} axes of x [${x.shape.join(', ')}], got ${pads.length}`,
  );
  pads.forEach(([before, after], axis) => {
    const extent = x.shape[axis];
    check(
      Number.isInteger(before) && Number.isInteger(after) && before >= 0 && after >= 0,
      () =>
        `pad: pads are integers >= 0, got [${before}, ${after}] for axis ${axis}; use slice to cut`,
    );
    const most =
      mode === 'constant'
        ? Infinity
        : mode === 'reflect'
          ? Math.max(extent - 1, 0)
          : extent && Infinity;
    checkShape(
      Math.max(before, after) <= most,
      () =>
        `pad: mode '${mode}' cannot add [${before}, ${after}] to axis ${axis} of extent ${extent}`,
    );
  });
  const starts = pads.map(([before]) => before);
  const y = empty(
    x.shape.map((extent, axis) => extent + pads[axis][0] + pads[axis][1]),
    x,
  );
  kernels.pad_forward(x.id, starts, modes[mode], value, y.id);
  const { shape } = x;
  return op({
    name: 'pad',
    inputs: [x],
    output: y,
    backward([dy]) {
      if (mode === 'constant')
        return [
          slice(
            dy,
            shape.map((extent, axis) => [starts[axis], starts[axis] + extent]),
          ),
        ];
      const dx = empty(shape, dy);
      kernels.pad_backward(dy.id, starts, modes[mode], dx.id);
      return [dx];
    },
  });
}
