/**
 * Configurations are typed plain data in camelCase. Published ones (the `params:` of the original
 * YAML files, the arguments stored in checkpoints) use snake_case; this is the one place that
 * translates them.
 */
import { check } from '../errors.js';
import { suggestion } from '../suggestion.js';

/** Constructor arguments under the original's names, as YAML or JSON gives them. */
export type OriginalParams = Readonly<Record<string, unknown>>;

/** `num_res_blocks` → `numResBlocks` */
export function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** `numResBlocks` → `num_res_blocks` */
export function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/**
 * Translates the original's arguments into a config of type `T`. `null` (Python's None) counts as
 * "not given". Names in `ignored` are accepted without effect; any other unknown name throws,
 * because a silently dropped option is a wrong network.
 */
export function fromOriginal<T extends object>(
  what: string,
  params: OriginalParams,
  known: readonly (keyof T & string)[],
  ignored: readonly string[] = [],
): T {
  const config: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(params)) {
    if (ignored.includes(name)) continue;
    const key = camelCase(name);
    check((known as readonly string[]).includes(key), () => {
      const names = known.map(snakeCase);
      const hint = suggestion(name, [...names, ...ignored]);
      return `${what}: unknown parameter '${name}'.${hint} Known are ${names.join(', ')}.`;
    });
    if (value !== null && value !== undefined) config[key] = value;
  }
  return config as T;
}
