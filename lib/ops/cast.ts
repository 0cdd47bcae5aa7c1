import { op } from '../autograd/index.js';
import { checkTensors } from '../checks.js';
import { device as findDevice, devices, type Device } from '../device.js';
import { dtypes, isFloating, type DType } from '../dtype.js';
import { check, DeviceError } from '../errors.js';
import { native, type Id } from '../native.js';
import { empty, Tensor } from '../tensor.js';

const kernels = native<{ cast(x: Id, y: Id): void }>('cast');

/**
 * x in another dtype; x itself if it has it already. To a floating dtype rounds to nearest even; to an
 * integer truncates, saturates, and turns NaN into 0; to bool is x ≠ 0. Differentiable between floating
 * dtypes.
 */
export function cast(x: Tensor, dtype: DType): Tensor {
  checkTensors('cast', { x });
  check(
    dtypes.includes(dtype),
    () => `cast: unknown dtype '${String(dtype)}'; one of ${dtypes.join(', ')}`,
  );
  if (x.dtype === dtype) return x;
  const y = empty(x.shape, { dtype, device: x.device });
  kernels.cast(x.id, y.id);
  if (!isFloating(dtype) || !isFloating(x.dtype))
    return op({ name: 'cast', inputs: [x], output: y, backward: 'not differentiable' });
  const from = x.dtype;
  return op({ name: 'cast', inputs: [x], output: y, backward: ([dy]) => [cast(dy, from)] });
}

declare module '../tensor.js' {
  interface Tensor {
    /** The tensor in another dtype ({@link cast}) or on another device; itself if nothing changes. */
    to(target: DType | Device | 'cpu'): Tensor;
  }
}

Tensor.prototype.to = function (this: Tensor, target: DType | Device | 'cpu'): Tensor {
  if (dtypes.includes(target as DType)) return cast(this, target as DType);
  const device = findDevice(target as Device | string);
  if (device === this.device) return this;
  throw new DeviceError(
    `to: no way from ${this.device} to ${device}; devices: ${devices().join(', ')}`,
  );
};
