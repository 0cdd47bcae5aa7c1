// The tensors among a checkpoint's plain data, by dotted path.
import { FileError } from '../../errors.js';
import { TensorRef } from './tensor_ref.js';
import { PythonName, type CheckpointValue } from './values.js';

// Beyond what any network needs. Names are put together from the keys on the way, so that without bounds
// a small file could stand for gigabytes of them.
const deepest = 64;
const longestName = 1000;
const longestNames = 2 ** 26; // all together

/**
 * Walks through dictionaries and lists. A container that occurs twice, or within itself, is entered where
 * it comes first; what lies deeper than 64 levels is left out.
 *
 * @throws FileError when names are too long or two tensors have the same one
 */
export function collectTensors(path: string, root: CheckpointValue): Map<string, TensorRef> {
  const found = new Map<string, TensorRef>();
  const entered = new Set<CheckpointValue>();
  let characters = 0;
  // A stack of what is left to see: recursion would follow the file's nesting.
  const open: { name: string; value: CheckpointValue; depth: number }[] = [];
  const enter = (value: CheckpointValue, prefix: string, depth: number): void => {
    if (!Array.isArray(value) && !(value instanceof Map)) return;
    if (entered.has(value) || depth > deepest) return;
    entered.add(value);
    const first = open.length;
    for (const [key, member] of value.entries()) {
      const text = member instanceof Object ? keyText(key) : null;
      if (text === null) continue;
      const name = prefix === '' ? text : `${prefix}.${text}`;
      if (name.length > longestName)
        throw new FileError(`the name ${name.slice(0, 60)}... is too long.`, path);
      characters += name.length;
      if (characters > longestNames)
        throw new FileError('the names of all tensors together are too long.', path);
      open.push({ name, value: member, depth: depth + 1 });
    }
    reverseFrom(open, first);
  };
  enter(root, '', 0);
  for (let next = open.pop(); next; next = open.pop()) {
    const { name, value, depth } = next;
    if (value instanceof TensorRef) {
      if (found.has(name))
        throw new FileError(`two tensors are called ${JSON.stringify(name)}.`, path);
      found.set(name, value);
    } else enter(value, name, depth);
  }
  return found;
}

// The stack gives back last what was put there last: in the file's order once it is turned around.
function reverseFrom<T>(items: T[], first: number): void {
  for (let i = first, j = items.length - 1; i < j; i++, j--)
    [items[i], items[j]] = [items[j], items[i]];
}

function keyText(key: CheckpointValue): string | null {
  if (typeof key === 'string') return key;
  if (key instanceof PythonName) return key.name;
  return typeof key === 'number' || typeof key === 'bigint' ? String(key) : null;
}
