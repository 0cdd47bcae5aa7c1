import { op } from '../autograd/index.js';
import { checkTensors } from '../checks.js';
import { Device, device as findDevice, devices } from '../device.js';
import { dtypes, isFloating, type DType } from '../dtype.js';
import { check } from '../errors.js';
import { addon, native, type Id } from '../native.js';
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

/**
 * x on another device; x itself if it is there already. The copy runs in the order of both devices' queues
 * and waits for nothing. Differentiable: the gradient travels back.
 * @param target a device or its name, `'cpu'` or `'cuda:0'`
 */
export function transfer(x: Tensor, target: Device | string): Tensor {
  checkTensors('transfer', { x });
  const device = findDevice(target);
  if (device === x.device) return x;
  const y = empty(x.shape, { dtype: x.dtype, device });
  addon.transfer(x.id, y.id);
  const back = x.device;
  if (!isFloating(x.dtype))
    return op({ name: 'transfer', inputs: [x], output: y, backward: 'not differentiable' });
  return op({ name: 'transfer', inputs: [x], output: y, backward: ([dy]) => [transfer(dy, back)] });
}

declare module '../tensor.js' {
  interface Tensor {
    /** The tensor in another dtype ({@link cast}) or on another device ({@link transfer}). */
    to(target: DType | Device | (string & {})): Tensor;
  }
}

Tensor.prototype.to = function (this: Tensor, target: DType | Device | (string & {})): Tensor {
  if (dtypes.includes(target as DType)) return cast(this, target as DType);
  check(
    target instanceof Device || devices().some(({ name }) => name === target),
    () =>
      `to: '${String(target)}' is neither a dtype (${dtypes.join(', ')}) nor a device ` +
      `(${devices().join(', ')})`,
  );
  return transfer(this, target);
};
