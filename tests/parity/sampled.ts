// Outputs of full-size networks: 256 evenly spaced values and four statistics instead of the tensor.
import { l2, type Computed, type Failure } from './compare.js';
import type { GoldenCase } from './golden.js';

const pattern = /^(out\..+)\.(index|sample|stats)$/;

/** Of a sample's standard deviation. */
const sampleLimit = 2e-3;
/** Relative, of the norm. */
const normLimit = 1e-4;
/** Share of codes that may differ: two codes can be equally near. */
const codesLimit = 0.01;

/** Whether a golden tensor is part of a sampled output. */
export function isSampled(golden: GoldenCase, name: string): boolean {
  const output = pattern.exec(name)?.[1];
  return output !== undefined && golden.has(`${output}.index`);
}

export async function compareSampled(
  golden: GoldenCase,
  name: string,
  results: Map<string, Computed>,
): Promise<Failure | null> {
  const [, output, part] = pattern.exec(name)!;
  const actual = results.get(output);
  if (!actual) return { tensor: output, text: 'was not computed' };
  if (part === 'index') return null; // used with the sample
  const fail = (text: string): Failure => ({ tensor: name, text });

  const [mean, deviation, , norm] = (await golden.values(`${output}.stats`)).data;
  if (part === 'stats') {
    const count = actual.data.length;
    const error = Math.abs(l2(actual.data) - norm) / norm;
    let sum = 0;
    for (let i = 0; i < count; i++) sum += actual.data[i];
    const meanError = Math.abs(sum / count - mean) / deviation;
    // a flipped code moves the mean of the codes, which are names and not numbers
    if (output.endsWith('codes')) return null;
    if (!(error <= normLimit))
      return fail(`norm off by ${error.toExponential(2)}, limit ${normLimit}`);
    if (!(meanError <= sampleLimit)) {
      return fail(`mean off by ${meanError.toExponential(2)} deviations, limit ${sampleLimit}`);
    }
    return null;
  }

  const index = (await golden.values(`${output}.index`)).data;
  const sample = (await golden.values(`${output}.sample`)).data;
  if (output.endsWith('codes')) {
    const different = sample.filter((code, i) => code !== actual.data[index[i]]).length;
    const allowed = Math.floor(codesLimit * sample.length);
    return different <= allowed ? null : fail(`${different} codes differ, limit ${allowed}`);
  }
  let worst = 0;
  for (let i = 0; i < index.length; i++) {
    worst = Math.max(worst, Math.abs(actual.data[index[i]] - sample[i]) / deviation);
  }
  if (worst <= sampleLimit) return null;
  return fail(`worst error ${worst.toExponential(2)} deviations, limit ${sampleLimit}`);
}
