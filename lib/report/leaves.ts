// Nested data of unknown form, as a list.
import { isRecord } from '../io/json.js';

const deepest = 16;

/** The values of nested data by the path of their names, as in `model.params.embed_dim`: at most `most` of them. */
export function leavesOf(value: unknown, most = 2000): [path: string, leaf: unknown][] {
  const found: [string, unknown][] = [];
  const visit = (each: unknown, path: readonly string[]): void => {
    if (found.length >= most || path.length > deepest) return;
    if (isRecord(each) || Array.isArray(each))
      for (const [name, inner] of Object.entries(each)) visit(inner, [...path, name]);
    else found.push([path.join('.').slice(0, 200), each]);
  };
  visit(value, []);
  return found;
}
