import { createHash } from 'node:crypto';
import type { CaseRun } from './run_case.js';

/** Tells whether runs of a case gave the same bits. */
export function digest({ outputs, gradients }: CaseRun): string {
  const hash = createHash('sha256');
  for (const { data } of [...outputs, ...Object.values(gradients)])
    hash.update(new Uint8Array(Float64Array.from(data).buffer));
  return hash.digest('hex');
}
