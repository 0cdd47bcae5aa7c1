// Reads an evaluation out of JSON that may hold anything.
import { isRecord } from '../io/json.js';
import { resizeNames } from './extractor.js';
import type { Evaluation, Protocol } from './protocol.js';
import { scoreNames, type Scores } from './scores.js';

type Reader<T> = (value: unknown, where: string) => T;

const longestText = 4096;

function fail(where: string, expected: string, value: unknown): never {
  const text = JSON.stringify(value) ?? 'nothing';
  const given = text.length > 60 ? `${text.slice(0, 60)}...` : text;
  throw new TypeError(`${where} must be ${expected}, got ${given}.`);
}

const text: Reader<string> = (value, where) =>
  typeof value === 'string' && value.length <= longestText ? value : fail(where, 'a text', value);

const number: Reader<number> = (value, where) =>
  typeof value === 'number' && Number.isFinite(value) ? value : fail(where, 'a number', value);

const whole: Reader<number> = (value, where) =>
  Number.isSafeInteger(value) && (value as number) >= 0
    ? (value as number)
    : fail(where, 'a whole number', value);

const hash: Reader<string> = (value, where) =>
  typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)
    ? value
    : fail(where, 'a SHA-256 in hexadecimal', value);

const oneOf =
  <T extends string>(choices: readonly T[]): Reader<T> =>
  (value, where) =>
    choices.find((choice) => choice === value) ??
    fail(where, `one of ${choices.join(', ')}`, value);

const orNull =
  <T>(read: Reader<T>): Reader<T | null> =>
  (value, where) =>
    value === null ? null : read(value, where);

const numberOrText: Reader<number | string> = (value, where) =>
  typeof value === 'string' ? text(value, where) : number(value, where);

/** An object with exactly these fields. */
const record =
  <T extends object>(fields: { readonly [K in keyof T]: Reader<T[K]> }): Reader<T> =>
  (value, where) => {
    if (!isRecord(value)) return fail(where, 'an object', value);
    const other = Object.keys(value).find((key) => !Object.hasOwn(fields, key));
    if (other !== undefined)
      throw new TypeError(`${where} has a field ${JSON.stringify(other)} that is not known.`);
    const entries = Object.entries(fields) as [keyof T & string, Reader<unknown>][];
    return Object.fromEntries(
      entries.map(([key, read]) => [key, read(value[key], `${where}.${key}`)]),
    ) as T;
  };

const protocol = record<Protocol>({
  task: oneOf(['sets', 'pairs', 'first-stage']),
  emulsion: text,
  extractor: orNull(record({ name: text, weights: hash, resize: oneOf(resizeNames) })),
  size: orNull(whole),
  reference: record({ hash, count: orNull(whole) }),
  samples: record({
    hash,
    count: whole,
    classes: orNull(record({ hash, count: whole, least: whole, most: whole })),
  }),
  sampling: orNull(
    record({
      model: orNull(text),
      modelHash: orNull(hash),
      weights: orNull(text),
      sampler: orNull(text),
      steps: orNull(numberOrText),
      spacing: orNull(text),
      eta: orNull(numberOrText),
      guidance: orNull(numberOrText),
      seed: orNull(numberOrText),
      condition: orNull(hash),
    }),
  ),
  parameters: orNull(
    record({
      kidSubsets: whole,
      kidSubsetSize: whole,
      kidSeed: whole,
      splits: whole,
      precisionNeighbours: whole,
      coverageNeighbours: whole,
    }),
  ),
  lpips: orNull(hash),
});

// JSON has no infinite numbers: equal pictures have a PSNR of null.
const score: Reader<number> = (value, where) => (value === null ? Infinity : number(value, where));
const deviation: Reader<number> = (value, where) => (value === null ? NaN : number(value, where));
const spread = record({ mean: score, std: deviation });

const scores: Reader<Scores> = (value, where) => {
  if (!isRecord(value)) return fail(where, 'an object', value);
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => {
      if (!Object.hasOwn(scoreNames, name))
        fail(where, `of ${Object.keys(scoreNames).join(', ')}`, name);
      const place = `${where}.${name}`;
      return [name, isRecord(each) ? spread(each, place) : score(each, place)];
    }),
  );
};

const notes: Reader<string[]> = (value, where) =>
  Array.isArray(value) && value.length <= 100
    ? value.map((each, i) => text(each, `${where}[${i}]`))
    : fail(where, 'a list of texts', value);

/** @throws TypeError that names the first field which is not as it should be */
export function readEvaluationValue({ format: _, ...value }: Record<string, unknown>): Evaluation {
  return record<Evaluation>({ scores, notes, protocol })(value, 'the result');
}
