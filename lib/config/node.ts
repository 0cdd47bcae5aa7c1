// A configuration as a tree that remembers where each value was written.
import type { Json } from '../io/index.js';
import type { Place } from './error.js';

export type Scalar = null | boolean | number | string;

export interface ScalarNode {
  readonly kind: 'scalar';
  readonly place: Place;
  readonly value: Scalar;
}

export interface ListNode {
  readonly kind: 'list';
  readonly place: Place;
  readonly items: readonly ConfigNode[];
}

export interface MappingNode {
  readonly kind: 'mapping';
  readonly place: Place;
  readonly entries: ReadonlyMap<string, ConfigNode>;
}

/** A value of a configuration. Nodes never change: merging makes new ones. */
export type ConfigNode = ScalarNode | ListNode | MappingNode;

/** Whether a value counts as not given: YAML's null, Python's None. */
export function isNull(node: ConfigNode | undefined): boolean {
  return node === undefined || (node.kind === 'scalar' && node.value === null);
}

/** The tree as plain data; infinities and NaN, which JSON lacks, stay numbers. */
export function toPlain(node: ConfigNode): Json {
  if (node.kind === 'scalar') return node.value;
  if (node.kind === 'list') return node.items.map(toPlain);
  return Object.fromEntries([...node.entries].map(([key, value]) => [key, toPlain(value)]));
}

/** The node at a path of keys and list positions, or undefined. */
export function nodeAt(root: ConfigNode, path: readonly string[]): ConfigNode | undefined {
  let node: ConfigNode | undefined = root;
  for (const key of path) {
    if (node?.kind === 'mapping') node = node.entries.get(key);
    else if (node?.kind === 'list' && /^\d+$/.test(key)) node = node.items[Number(key)];
    else return undefined;
  }
  return node;
}

/** How an error message shows a value. */
export function describe(node: ConfigNode): string {
  if (node.kind === 'list') return `a list of ${node.items.length}`;
  if (node.kind === 'mapping') return 'a mapping';
  const shown = typeof node.value === 'string' ? JSON.stringify(node.value) : String(node.value);
  return shown.length > 60 ? `${shown.slice(0, 57)}...` : shown;
}
