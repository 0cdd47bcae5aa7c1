/** Classes as people ask for them: by their ids, or by their names. */
import { ArgumentError, check } from '../../errors.js';
import { suggestion } from '../../suggestion.js';
import { classInputOf, type LatentDiffusionSpec } from '../diffusion/latent_diffusion_spec.js';

const namesShown = 20;

/**
 * Ids of classes given by number or by name. A text of digits is an id. A name is that of a class in any case, or
 * one of several that a class has, with commas between them as in ImageNet's "tench, Tinca tinca".
 *
 * @param names of the model's classes by their ids; empty where nothing tells
 * @throws ArgumentError for an id or a name that the model does not have, with the name that was probably meant,
 *   and for a name that several classes have
 */
export function classIds(
  spec: LatentDiffusionSpec,
  given: readonly (number | string)[],
  names: readonly string[] = [],
): number[] {
  const classes = classInputOf(spec);
  check(classes, () => {
    return `the model is not conditioned on classes; its conditioner is of kind ${spec.conditioner?.kind ?? 'none'}.`;
  });
  return namedIds(given, classes.nClasses, names);
}

/** @internal As {@link classIds}, of so many things with these names. */
export function namedIds(
  given: readonly (number | string)[],
  nClasses: number,
  names: readonly string[],
): number[] {
  const byName = idsByName(names.slice(0, nClasses));
  return given.map((each) => {
    const text = String(each).trim();
    const isId = /^\d+$/.test(text);
    if (isId && Number(text) < nClasses) return Number(text);
    const ids = isId ? [] : (byName.get(text.toLowerCase()) ?? []);
    if (ids.length === 1) return ids[0];
    throw new ArgumentError(
      ids.length > 1
        ? `'${text}' is the name of several classes: ask for one of the ids ${ids.join(', ')}.`
        : unknown(text, nClasses, names, byName.keys()),
    );
  });
}

// A name as a whole comes before the same as a part of another's.
function idsByName(names: readonly string[]): ReadonlyMap<string, readonly number[]> {
  const whole = names.map((name) => name.trim().toLowerCase());
  const parts = whole.map((name) => [...new Set(name.split(',').map((part) => part.trim()))]);
  const grouped = (keys: readonly (readonly string[])[]): Map<string, number[]> => {
    const found = new Map<string, number[]>();
    keys.forEach((own, id) =>
      own.forEach((key) => found.set(key, [...(found.get(key) ?? []), id])),
    );
    return found;
  };
  return new Map([...grouped(parts), ...grouped(whole.map((name) => [name]))]);
}

function unknown(
  text: string,
  nClasses: number,
  names: readonly string[],
  known: Iterable<string>,
): string {
  const begin = `there is no class '${text}': expected an id from 0 to ${nClasses - 1}`;
  if (names.length === 0) return `${begin}. The names of the classes are not known.`;
  const more = names.length > namesShown ? '; ...' : '';
  const shown = names.slice(0, namesShown).join('; ');
  return `${begin}, or one of ${shown}${more}.${suggestion(text, known)}`;
}
