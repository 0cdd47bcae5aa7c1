// JSON from outside: of bounded size, and of unknown form.
import { FileError } from '../errors.js';
import { readSmallFile } from '../io/positional.js';

const largest = 16 * 2 ** 20;

/** @throws FileError when the file cannot be read, is larger than 16 MiB, or is no JSON */
export async function readJson(path: string): Promise<unknown> {
  const bytes = await readSmallFile(path, largest, 'a JSON file');
  try {
    return JSON.parse(bytes.toString()) as unknown;
  } catch (error) {
    throw new FileError(`is no JSON: ${(error as Error).message}.`, path);
  }
}

export type JsonObject = Readonly<Record<string, unknown>>;

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const deepest = 16;

/** The values of nested data by the path of their names, as in `model.params.embed_dim`: at most `most` of them. */
export function leavesOf(value: unknown, most = 2000): [path: string, leaf: unknown][] {
  const found: [string, unknown][] = [];
  const visit = (each: unknown, path: readonly string[]): void => {
    if (found.length >= most || path.length > deepest) return;
    if (isObject(each) || Array.isArray(each))
      for (const [name, inner] of Object.entries(each)) visit(inner, [...path, name]);
    else found.push([path.join('.').slice(0, 200), each]);
  };
  visit(value, []);
  return found;
}
