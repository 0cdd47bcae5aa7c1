// JSON from outside: of bounded size, and of unknown form.
import { FileError } from '../errors.js';
import { readSmallFile } from './positional.js';

/** Plain data: what JSON can hold. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

// What is described in JSON takes kilobytes; a larger file is a mistake, or meant to exhaust the memory.
const largest = 16 * 1024 * 1024;

/**
 * Reads a file whose content must be checked before use.
 * @param what it should be, for errors
 * @throws FileError when it cannot be read, is larger than 16 MiB, or is no JSON
 */
export async function readJson(path: string, what = 'JSON file'): Promise<Json> {
  const text = (await readSmallFile(path, largest, `a ${what}`)).toString();
  return parseJson(text, path, { what, reviver: refusePrototype }) as Json;
}

/**
 * Parses what was read from a file.
 * @param options.what it should be, for errors
 * @throws FileError when it is no JSON
 */
export function parseJson(
  text: string,
  path: string,
  { what = 'JSON file', reviver }: { what?: string; reviver?: typeof refusePrototype } = {},
): unknown {
  try {
    return JSON.parse(text, reviver) as unknown;
  } catch (cause) {
    const message = `not a valid ${what}: ${(cause as Error).message}`;
    throw new FileError(message, path, undefined, { cause });
  }
}

// A later merge of two objects must not be able to reach a prototype.
function refusePrototype(key: string, value: unknown): unknown {
  if (key === '__proto__') throw new SyntaxError('the key "__proto__" is not allowed');
  return value;
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
