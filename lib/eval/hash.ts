// What tells contents apart, in hexadecimal.
import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Pixels } from '../io/decode_image.js';
import { readChunks, withFile } from '../io/positional.js';

export function sha256(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}

/** SHA-256 of a file's bytes. */
export async function fileHash(path: string): Promise<string> {
  return withFile(path, async (file, size) => {
    const hash = createHash('sha256');
    for await (const chunk of readChunks(path, file, 0, size)) hash.update(chunk);
    return hash.digest('hex');
  });
}

/** SHA-256 of what a picture shows, whatever file it lies in. */
export function pixelHash({ data, width, height }: Pixels): Buffer {
  return createHash('sha256').update(`${width} ${height} `).update(data).digest();
}

/** SHA-256 of a model: of its file, or of a folder's configuration and weights. */
export async function modelHash(path: string): Promise<string> {
  if (!(await stat(path)).isDirectory()) return fileHash(path);
  const names = (await readdir(path)).filter((name) => /\.(json|safetensors)$/.test(name)).sort();
  const lines: string[] = [];
  for (const name of names) lines.push(`${await fileHash(join(path, name))}  ${name}\n`);
  return sha256(lines.join(''));
}
