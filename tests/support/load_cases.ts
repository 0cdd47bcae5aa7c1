// Finds the op cases: every file of tests/ops/ but the one with their types.
import { readdirSync } from 'node:fs';
import type { CaseFile, OpCase, OpCases } from '../ops/cases.js';
import { size } from './oracle.js';
import { inputSpec } from './run_case.js';

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

/** An op's cases in float32 that take no longer than a test may, with inputs of at most so many elements. */
export function moderateCases({ cases, dtypes }: OpCases, elements: number): OpCase[] {
  return cases.filter((opCase) => {
    const sizes = Object.values(opCase.inputs).map((x) => size(inputSpec(x).shape));
    const inFloat32 = (opCase.dtypes ?? dtypes ?? ['float32']).includes('float32');
    return inFloat32 && (opCase.flops ?? 0) <= 5e8 && Math.max(0, ...sizes) <= elements;
  });
}
