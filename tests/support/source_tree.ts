// The project's own sources as a graph: which file imports or includes which.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../../', import.meta.url));

export interface SourceImport {
  from: string;
  to: string;
  /** Erased by the compiler: says nothing about what runs. */
  typeOnly: boolean;
}

/** Files below the folders (relative to the root) that end in one of the extensions. */
export function sourceFiles(folders: readonly string[], extensions: readonly string[]): string[] {
  return folders
    .filter((folder) => existsSync(join(root, folder)))
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
        .filter((name) => extensions.some((extension) => name.endsWith(extension)))
        .map((name) => join(folder, name)),
    )
    .sort();
}

export function source(file: string): string {
  return readFileSync(join(root, file), 'utf8');
}

/** Relative imports and re-exports of TypeScript files. */
export function typescriptImports(files: readonly string[]): SourceImport[] {
  const statement =
    /^(?:import|export)\s+(type\s)?(?:[^'";]*?\sfrom\s+)?'(\.[^']+)'|\bimport\('(\.[^']+)'\)/gm;
  return files.flatMap((from) =>
    [...source(from).matchAll(statement)].map(([, type, statically, dynamically]) => ({
      from,
      to: relative(
        root,
        join(root, dirname(from), (statically ?? dynamically).replace(/\.js$/, '.ts')),
      ),
      typeOnly: type !== undefined,
    })),
  );
}

/** Includes in quotes are paths below native/. */
export function nativeIncludes(files: readonly string[]): SourceImport[] {
  return files.flatMap((from) =>
    [...source(from).matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)].map(([, to]) => ({
      from,
      to: existsSync(join(root, 'native', to)) ? join('native', to) : to,
      typeOnly: false,
    })),
  );
}

/** The first cycle found, as the files along it, or null. */
export function findCycle(imports: readonly SourceImport[]): string[] | null {
  const next = new Map<string, string[]>();
  for (const { from, to } of imports) next.set(from, [...(next.get(from) ?? []), to]);
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): string[] | null => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return null;
    path.push(file);
    for (const target of next.get(file) ?? []) {
      const cycle = visit(target);
      if (cycle) return cycle;
    }
    path.pop();
    done.add(file);
    return null;
  };
  for (const file of next.keys()) {
    const cycle = visit(file);
    if (cycle) return cycle;
  }
  return null;
}
