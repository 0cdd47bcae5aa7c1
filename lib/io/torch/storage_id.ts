// The persistent ids that stand for storages in PyTorch's pickles.
import { storageType, type ElementType } from './element_type.js';
import { PythonName, shownNumber, type CheckpointValue } from './values.js';

/**
 * Takes ('storage', class, key, location, number of elements) apart. The location, such as `cuda:0`, is
 * ignored: tensors go where the reader wants them.
 *
 * @throws RangeError with the reason for anything else
 */
export function parseStorageId(id: CheckpointValue): {
  key: string;
  type: ElementType;
  count: number;
} {
  if (!Array.isArray(id) || id[0] !== 'storage')
    throw new RangeError('a persistent id names no storage');
  const [, storageClass, key, , count, storageView] = id;
  const type =
    storageClass instanceof PythonName && storageType(storageClass.module, storageClass.name);
  if (!type) {
    const name = storageClass instanceof PythonName ? storageClass.toString() : 'a value';
    throw new RangeError(`${name} stands where a storage class should`);
  }
  if (typeof key !== 'string' || !/^[0-9]{1,40}$/.test(key)) {
    const quoted = typeof key === 'string' ? JSON.stringify(key.slice(0, 60)) : 'of another type';
    throw new RangeError(`the storage key ${quoted} is no number`);
  }
  if (typeof count !== 'number' || !Number.isSafeInteger(count * type.bytes) || count < 0)
    throw new RangeError(`a storage of ${shownNumber(count)} elements is not possible`);
  if (storageView !== null && storageView !== undefined)
    throw new RangeError('views of storages (PyTorch 0.3 and older) are not supported');
  return { key, type, count };
}
