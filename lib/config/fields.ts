// Typed readers of configuration values: what a key may hold is declared once, as data, and the type of
// the result, the checks and the error messages follow.
import { camelCase } from '../ldm/config.js';
import { ConfigError } from './error.js';
import { suggestion } from '../suggestion.js';
import { describe, isNull, type ConfigNode } from './node.js';

/** Reads one value. */
export interface Field<T> {
  /** @throws ConfigError that names the key, what was expected and what was found */
  read(node: ConfigNode, name: string): T;
  /** Set when the key may be left out (or null): what it stands for then. */
  readonly missing?: { readonly value: T };
  /** Set when null is a value of its own, and not as if the key were left out. */
  readonly readsNull?: true;
}

type SnakeCase<Name> = Name extends `${infer Head}${infer Tail}`
  ? `${Head extends Lowercase<Head> ? Head : `_${Lowercase<Head>}`}${SnakeCase<Tail>}`
  : Name;

/** A field for every key of `T`, under the original's names: `embed_dim` for `embedDim`. */
export type FieldsOf<T> = { readonly [Key in keyof T as SnakeCase<Key>]-?: Field<T[Key]> };

function scalar<T>(expected: string, accept: (value: unknown) => value is T): Field<T> {
  return {
    read(node, name) {
      const value = node.kind === 'scalar' ? node.value : undefined;
      if (accept(value)) return value;
      throw new ConfigError(`${name} must be ${expected}, got ${describe(node)}.`, node.place);
    },
  };
}

/** Bounds of a number, both included. */
interface Bounds {
  min?: number;
  max?: number;
}

function within(what: string, { min = -Infinity, max = Infinity }: Bounds): string {
  if (min === -Infinity && max === Infinity) return what;
  if (max === Infinity) return `${what} of at least ${min}`;
  return min === -Infinity ? `${what} of at most ${max}` : `${what} from ${min} to ${max}`;
}

const inside = (value: number, { min = -Infinity, max = Infinity }: Bounds): boolean =>
  value >= min && value <= max;

/** A finite number. */
export const number = (bounds: Bounds = {}): Field<number> =>
  scalar(
    within('a number', bounds),
    (value): value is number => Number.isFinite(value) && inside(value as number, bounds),
  );

/** A whole number; `1e3` is one. */
export const integer = (bounds: Bounds = {}): Field<number> =>
  scalar(
    within('a whole number', bounds),
    (value): value is number => Number.isSafeInteger(value) && inside(value as number, bounds),
  );

/** A whole number from 1; -1, the original's "no limit", counts as left out. */
export const limit: Field<number | undefined> = convert(
  scalar(
    'a whole number of at least 1, or -1 for no limit',
    (value): value is number =>
      value === -1 || (Number.isSafeInteger(value) && (value as number) >= 1),
  ),
  (value) => (value === -1 ? undefined : value),
);

export const boolean: Field<boolean> = scalar(
  'true or false',
  (value): value is boolean => typeof value === 'boolean',
);

export const text: Field<string> = scalar(
  'a text',
  (value): value is string => typeof value === 'string' && value.length > 0,
);

export const oneOf = <T extends string>(...allowed: readonly T[]): Field<T> =>
  scalar(`one of ${allowed.join(', ')}`, (value): value is T =>
    (allowed as readonly unknown[]).includes(value),
  );

export function list<T>(item: Field<T>): Field<T[]> {
  return {
    read(node, name) {
      if (node.kind !== 'list')
        throw new ConfigError(`${name} must be a list, got ${describe(node)}.`, node.place);
      return node.items.map((each, i) => item.read(each, `${name}[${i}]`));
    },
  };
}

/** Texts under keys of the reader's own. */
export const texts: Field<Record<string, string>> = {
  read(node, name) {
    if (node.kind !== 'mapping')
      throw new ConfigError(`${name} must be a mapping, got ${describe(node)}.`, node.place);
    const read = ([key, value]: [string, ConfigNode]) => [key, text.read(value, `${name}.${key}`)];
    return Object.fromEntries([...node.entries].map(read)) as Record<string, string>;
  },
};

/** Any value, for another reader. */
export const subtree: Field<ConfigNode> = { read: (node) => node };

/** Never given: for options of the original that have no counterpart here, with the reason. */
export const unsupported = (reason: string): Field<undefined> => ({
  read(node, name) {
    throw new ConfigError(`${name} is not supported: ${reason}.`, node.place);
  },
  missing: { value: undefined },
});

/** May be left out or null. */
export function optional<T>(field: Field<T>): Field<T | undefined>;
export function optional<T>(field: Field<T>, fallback: T): Field<T>;
export function optional<T>(field: Field<T>, fallback?: T): Field<T | undefined> {
  return { read: field.read, missing: { value: fallback } };
}

/** May be left out; null is told from that. */
export function nullable<T>(field: Field<T>): Field<T | null | undefined> {
  return {
    read: (node, name) => (isNull(node) ? null : field.read(node, name)),
    missing: { value: undefined },
    readsNull: true,
  };
}

/**
 * A mapping with these keys and no others, read to camelCase names. A key that is left out is left out of
 * the result, so that the defaults of whoever takes it apply.
 *
 * ```ts
 * const fields = mapping<{ embedDim: number; monitor?: string }>({
 *   embed_dim: integer({ min: 1 }),
 *   monitor: optional(text),
 * });
 * ```
 *
 * @param accepted further keys that may be there and mean nothing here
 * @param rename a key's name in the result. Default: in camelCase
 */
export function mapping<T extends object>(
  fields: FieldsOf<T>,
  accepted: readonly string[] = [],
  rename: (name: string) => string = camelCase,
): Field<T> {
  return { read: (node, name) => readMapping(node, name, fields, accepted, rename) as T };
}

function readMapping(
  node: ConfigNode,
  name: string,
  fields: Readonly<Record<string, Field<unknown>>>,
  accepted: readonly string[],
  rename: (name: string) => string,
): object {
  const entries = node.kind === 'mapping' ? node.entries : undefined;
  // `params:` with nothing under it is an empty mapping.
  if (!entries && !isNull(node))
    throw new ConfigError(`${name} must be a mapping, got ${describe(node)}.`, node.place);
  const known = [...Object.keys(fields), ...accepted];
  for (const [key, value] of entries ?? [])
    if (!known.includes(key))
      throw new ConfigError(
        `${name} has no key '${key}'.${suggestion(key, known) || ` Known are ${known.join(', ')}.`}`,
        value.place,
      );
  const values: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(fields)) {
    const value = entries?.get(key);
    if (value && (field.readsNull || !isNull(value))) values[rename(key)] = field.read(value, key);
    else if (!field.missing)
      throw new ConfigError(`${name} needs the key '${key}'.`, (value ?? node).place);
    else if (field.missing.value !== undefined) values[rename(key)] = field.missing.value;
  }
  return values;
}

/** Reads with `field`, then converts. */
export function convert<T, U>(field: Field<T>, to: (value: T, node: ConfigNode) => U): Field<U> {
  return { read: (node, name) => to(field.read(node, name), node) };
}
