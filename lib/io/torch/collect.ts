// The tensors among a checkpoint's plain data, by dotted path.
import { FileError } from '../../errors.js';
import { StorageRef, TensorRef } from './tensor_ref.js';
import { Opaque, PythonName, type CheckpointValue } from './values.js';

// Beyond what any network needs. Names are put together from the keys on the way, so that without bounds
// a small file could stand for gigabytes of them.
const deepest = 64;
const longestName = 1000;
const longestNames = 2 ** 26; // all together

/**
 * Walks through dictionaries and lists. A container that occurs twice, or within itself, is entered where
 * it comes first; what lies deeper than 64 levels is left out.
 *
 * @returns the tensors, and in their places what stands for tensors that cannot be read
 * @throws FileError when names are too long or two tensors have the same one
 */
export function collectTensors(
  path: string,
  root: CheckpointValue,
): Map<string, TensorRef | Opaque> {
  const holders = holdersOfTensors(root);
  return collect(
    path,
    root,
    (value): value is TensorRef | Opaque =>
      value instanceof TensorRef || (value instanceof Opaque && holders.has(value)),
  );
}

/** As {@link collectTensors}, whatever is wanted. */
export function collect<T extends CheckpointValue>(
  path: string,
  root: CheckpointValue,
  isWanted: (value: CheckpointValue) => value is T,
): Map<string, T> {
  const found = new Map<string, T>();
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
    if (isWanted(value)) {
      if (found.has(name))
        throw new FileError(`two tensors are called ${JSON.stringify(name)}.`, path);
      found.set(name, value);
    } else enter(value, name, depth);
  }
  return found;
}

/** Everything through which tensors are reached: in one pass, since a hostile file nests and repeats. */
function holdersOfTensors(root: CheckpointValue): Set<CheckpointValue> {
  const holders = new Map<CheckpointValue, CheckpointValue[]>([[root, []]]);
  const reaching = new Set<CheckpointValue>();
  for (const value of holders.keys()) {
    if (isTensorItself(value)) reaching.add(value);
    for (const member of membersOf(value)) {
      if (!(member instanceof Object)) continue;
      const known = holders.get(member);
      if (known) known.push(value);
      else holders.set(member, [value]);
    }
  }
  for (const value of reaching) for (const holder of holders.get(value)!) reaching.add(holder);
  return reaching;
}

// PyTorch's functions that make tensors, among them such as have no storage in the file.
const rebuilding = /^torch\._(utils|tensor)\._rebuild_/;

const isTensorItself = (value: CheckpointValue): boolean =>
  value instanceof TensorRef ||
  value instanceof StorageRef ||
  (value instanceof Opaque && rebuilding.test(value.name));

function membersOf(value: CheckpointValue): Iterable<CheckpointValue> {
  if (value instanceof Opaque) return value.parts;
  if (value instanceof Map) return value.values();
  return Array.isArray(value) || value instanceof Set ? value : [];
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
