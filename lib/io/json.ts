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
  try {
    return JSON.parse(text, refusePrototype) as Json;
  } catch (error) {
    throw new FileError(`not a valid ${what}: ${(error as Error).message}`, path);
  }
}

// A later merge of two objects must not be able to reach a prototype.
function refusePrototype(key: string, value: unknown): unknown {
  if (key === '__proto__') throw new SyntaxError('the key "__proto__" is not allowed');
  return value;
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
