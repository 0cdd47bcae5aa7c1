// JSON from outside.
import { FileError } from '../errors.js';

/**
 * @param path what errors call the file
 * @throws FileError when the text is no JSON
 */
export function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    const message = `is no valid JSON: ${(cause as Error).message}.`;
    throw new FileError(message, path, undefined, { cause });
  }
}
