// `node --import ./scripts/typescript.mjs FILE.ts` runs a TypeScript program of the project as it would run
// compiled. (tsx would do, but it keeps the names of functions, which costs every operation a property
// definition: a third of what an operation costs in JavaScript.)
import { readFile } from 'node:fs/promises';
import { register } from 'node:module';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort } from 'node:worker_threads';

// Node runs the hooks below in a thread of their own, which has no parent port; the program's workers have.
if (isMainThread || parentPort) {
  process.setSourceMapsEnabled(true);
  register(import.meta.url);
}

/** Sources import each other as the files they become: x.js is x.ts. */
export async function resolve(specifier, context, next) {
  const local = specifier.startsWith('.') && context.parentURL?.endsWith('.ts');
  if (!local) return next(specifier, context);
  try {
    return await next(specifier.replace(/\.js$/, '.ts'), context);
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
    return next(specifier, context);
  }
}

export async function load(url, context, next) {
  if (!url.startsWith('file:') || !url.endsWith('.ts')) return next(url, context);
  const { transform } = await import('esbuild');
  const file = fileURLToPath(url);
  const { code } = await transform(await readFile(file, 'utf8'), {
    loader: 'ts',
    format: 'esm',
    target: 'node20',
    sourcefile: file,
    sourcemap: 'inline',
  });
  return { format: 'module', source: code, shortCircuit: true };
}
