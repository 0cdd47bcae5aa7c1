/** Checks of configurations that come from outside: each option's values, and no unknown option. */
import { check } from '../errors.js';
import { suggestion } from '../suggestion.js';
import { Tensor } from '../tensor.js';

/** What a value must be, in words, and whether it is. */
export interface Rule {
  readonly expected: string;
  /** The values, where these are words of which one may have been meant. */
  readonly names?: readonly string[];
  accepts(value: unknown): boolean;
}

/** A rule for every option of a config, so that none can be forgotten. */
export type Rules<T> = Readonly<Record<keyof T, Rule>>;

export const flag: Rule = {
  expected: 'true or false',
  accepts: (value) => typeof value === 'boolean',
};

export const integer = (low: number, high: number): Rule => ({
  expected: `an integer from ${low} to ${high}`,
  accepts: (value) =>
    Number.isInteger(value) && (value as number) >= low && (value as number) <= high,
});

/** A finite number in [low, high). */
export const number = (low: number, high = Infinity): Rule => ({
  expected: high === Infinity ? `a number, at least ${low}` : `a number in [${low}, ${high})`,
  accepts: (value) =>
    Number.isFinite(value) && (value as number) >= low && (value as number) < high,
});

export const finite: Rule = { expected: 'a finite number', accepts: Number.isFinite };

export const oneOf = (...names: readonly string[]): Rule => ({
  expected: `one of ${names.join(', ')}`,
  names,
  accepts: (value) => names.includes(value as string),
});

export const either = (...rules: readonly Rule[]): Rule => ({
  expected: rules.map((rule) => rule.expected).join(', or '),
  accepts: (value) => rules.some((rule) => rule.accepts(value)),
});

export const list = (rule: Rule, least: number, most: number): Rule => ({
  expected: `a list of ${least} to ${most} entries, each ${rule.expected}`,
  accepts: (value) =>
    Array.isArray(value) &&
    value.length >= least &&
    value.length <= most &&
    value.every(rule.accepts),
});

export const callable: Rule = {
  expected: 'a function',
  accepts: (value) => typeof value === 'function',
};

export const aTensor: Rule = {
  expected: 'a tensor',
  accepts: (value) => value instanceof Tensor,
};

/** A plain object whose own entries are checked separately. */
export const group: Rule = {
  expected: 'a group of options',
  accepts: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
};

/**
 * Checks a config: required options are there, all have values that their rules accept, none is unknown.
 *
 * @param what begins the error message
 * @throws ArgumentError that names the option, what it must be and what it is, or the option that was
 *   probably meant
 */
export function checkOptions<T extends object>(
  what: string,
  config: unknown,
  rules: Rules<Required<T>>,
  required: readonly (keyof T & string)[],
): asserts config is T {
  check(group.accepts(config), () => `${what}: expected ${group.expected}. Got ${show(config)}.`);
  const given = config as Record<string, unknown>;
  const known = Object.keys(rules);
  for (const [name, value] of Object.entries(given)) {
    check(known.includes(name), () => {
      const hint = suggestion(name, known);
      return `${what}: unknown option '${name}'.${hint} Known are ${known.join(', ')}.`;
    });
    if (value !== undefined) checkOption(what, name, value, rules[name as keyof T]);
  }
  for (const name of required) {
    check(given[name] !== undefined, () => {
      return `${what}: ${name} is missing. It must be ${rules[name].expected}.`;
    });
  }
}

/** Checks a single value. @throws ArgumentError as {@link checkOptions} does */
export function checkOption(what: string, name: string, value: unknown, rule: Rule): void {
  check(rule.accepts(value), () => {
    const hint = typeof value === 'string' && rule.names ? suggestion(value, rule.names) : '';
    return `${what}: ${name} must be ${rule.expected}. Got ${show(value)}.${hint}`;
  });
}

function show(value: unknown): string {
  const text = inWords(value);
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}

function inWords(value: unknown): string {
  if (value instanceof Tensor) return value.describe();
  // JSON has no NaN, and would write out what an object of a class holds.
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  const { constructor } = Object(value) as object;
  const isPlain = constructor === Object || constructor === Array;
  if (typeof value === 'object' && value !== null && !isPlain) return `a ${constructor?.name}`;
  return JSON.stringify(value) ?? String(value);
}
