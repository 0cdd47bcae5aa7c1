/** Checks of configurations that come from outside: each option's values, and no unknown option. */
import { check } from '../errors.js';
import { suggestion } from '../suggestion.js';

/** What a value must be, in words, and whether it is. */
export interface Rule {
  readonly expected: string;
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

export const oneOf = (...names: readonly string[]): Rule => ({
  expected: `one of ${names.join(', ')}`,
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
    const rule = rules[name as keyof T];
    check(value === undefined || rule.accepts(value), () => {
      return `${what}: ${name} must be ${rule.expected}. Got ${show(value)}.`;
    });
  }
  for (const name of required) {
    check(given[name] !== undefined, () => {
      return `${what}: ${name} is missing. It must be ${rules[name].expected}.`;
    });
  }
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}
