// Finds the op cases: every file of tests/ops/ but the one with their types.
import { readdirSync } from 'node:fs';
import type { CaseFile, OpCases } from '../ops/cases.js';

export async function loadOpCases(): Promise<OpCases[]> {
  const folder = new URL('../ops/', import.meta.url);
  const files = readdirSync(folder).filter((name) => name.endsWith('.ts') && name !== 'cases.ts');
  const found: OpCases[] = [];
  for (const file of files.sort()) {
    const module = (await import(new URL(file, folder).href)) as { default: CaseFile };
    found.push(...(module.default instanceof Array ? module.default : [module.default as OpCases]));
  }
  return found;
}
