// Classes as a call names them.
import { ArgumentError } from '../errors.js';
import { classIds, type LatentDiffusionSpec } from '../ldm/index.js';
import { UsageError } from './run.js';

/** Ids of the classes that a call names. @throws UsageError when the model has no such class */
export function askedClasses(
  spec: LatentDiffusionSpec,
  given: readonly string[],
  names: readonly string[],
): number[] {
  try {
    return classIds(spec, given, names);
  } catch (error) {
    if (!(error instanceof ArgumentError)) throw error;
    const remedy = names.length === 0 ? ' For names give --class-names.' : '';
    throw new UsageError(error.message + remedy);
  }
}
