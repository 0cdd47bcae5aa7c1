/** What the configurations of the diffusers library have in common. */
import { check } from '../errors.js';
import { checkOptions, either, group, integer, list, type Rule, type Rules } from './rules.js';

/** Whether a configuration is of diffusers. */
export function isDiffusersConfig(config: unknown): config is Record<string, unknown> {
  return group.accepts(config) && Object.hasOwn(config as object, '_class_name');
}

/** The class that a configuration is of. @throws ArgumentError when it is none of `known` */
export function diffusersClass<Name extends string>(
  config: Readonly<Record<string, unknown>>,
  known: readonly Name[],
): Name {
  const { _class_name: name } = config;
  check((known as readonly unknown[]).includes(name), () => {
    const list = known.join(known.length > 2 ? ', ' : ' or ');
    const expected = known.length > 2 ? `one of ${list}` : list;
    return `diffusers: _class_name must be ${expected}. Got ${JSON.stringify(name)}.`;
  });
  return name as Name;
}

/**
 * The options of a configuration, checked and with diffusers' own defaults for those that a file leaves out.
 *
 * @throws ArgumentError that names the option, what it must be and what it is
 */
export function diffusersOptions<T extends object>(
  config: Readonly<Record<string, unknown>>,
  rules: Rules<Required<T>>,
  defaults: T,
  required: readonly (keyof T & string)[] = [],
): T {
  const given = Object.fromEntries(Object.entries(config).filter(([key]) => !key.startsWith('_')));
  checkOptions<T>(`diffusers: ${String(config._class_name)}`, given, rules, required);
  return { ...defaults, ...given };
}

/** For options of how diffusers computes, not what. */
export const anything: Rule = { expected: 'anything', accepts: () => true };

export const orNull = (rule: Rule): Rule => ({
  expected: `${rule.expected}, or null`,
  accepts: (value) => value === null || rule.accepts(value),
});

/** The one value that the networks here can have. */
export const only = (value: unknown, because: string): Rule => ({
  expected: `${JSON.stringify(value)}, for ${because}`,
  accepts: (given) => given === value,
});

const side = integer(1, 2 ** 20);

export const size = side;
export const levels = (rule: Rule): Rule => list(rule, 1, 16);
export const sampleSize: Rule = {
  expected: `${side.expected}, or two of them`,
  accepts: either(side, list(side, 2, 2)).accepts,
};
