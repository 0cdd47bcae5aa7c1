// Protocols: written and read back, refused when they hold anything else, and compared field by field.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  checkComparable,
  FileError,
  loadEvaluation,
  protocolDifferences,
  readSamplingRecord,
  saveEvaluation,
  type Evaluation,
  type Protocol,
  type SamplingRecord,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';

const inFolder = temporaryFolder();
const hash = 'ab'.repeat(32);

const sampling: SamplingRecord = {
  ...{ model: 'logs/a', modelHash: hash, weights: 'ema', sampler: 'ddim', steps: 200 },
  ...{ spacing: 'uniform', eta: 1, guidance: 1.5, seed: 0, condition: null },
};
const evaluation: Evaluation = {
  scores: { fid: 3.25, kid: { mean: 0.01, std: 0.002 }, psnr: { mean: Infinity, std: NaN } },
  notes: ['a note'],
  protocol: {
    task: 'sets',
    emulsion: '0.1.0',
    extractor: { name: 'inception', weights: hash, resize: 'tf' },
    size: 256,
    reference: { hash, count: 1000 },
    samples: { hash, count: 500, classes: { hash, count: 10, least: 50, most: 50 } },
    sampling,
    parameters: {
      ...{ kidSubsets: 100, kidSubsetSize: 250, kidSeed: 0, splits: 10 },
      ...{ precisionNeighbours: 3, coverageNeighbours: 5 },
    },
    lpips: null,
  },
};

const changed = (change: (protocol: Record<string, unknown>) => void): Protocol => {
  const copy = structuredClone(evaluation.protocol) as unknown as Record<string, unknown>;
  change(copy);
  return copy as unknown as Protocol;
};

describe('the file of a result', () => {
  test('comes back, infinite scores included', async () => {
    await saveEvaluation(inFolder('a.json'), evaluation);
    expect(await loadEvaluation(inFolder('a.json'))).toEqual(evaluation);
    const bare = {
      ...evaluation,
      protocol: { ...evaluation.protocol, sampling: null, size: null },
    };
    await saveEvaluation(inFolder('b.json'), bare);
    expect(await loadEvaluation(inFolder('b.json'))).toEqual(bare);
  });

  const file = (path: string, value: unknown) => {
    const whole = JSON.parse(
      JSON.stringify({ format: 'emulsion evaluation 1', ...evaluation }),
    ) as object;
    const parts = path.split('.');
    let at = whole as Record<string, Record<string, never>>;
    for (const part of parts.slice(0, -1)) at = at[part];
    if (value === undefined) delete at[parts.at(-1)!];
    else (at as Record<string, unknown>)[parts.at(-1)!] = value;
    return JSON.stringify(whole);
  };

  test.each<[string, string, RegExp]>([
    ['nothing', '', /not a valid JSON file/],
    ['a list', '[]', /no result of `emulsion eval`/],
    ['another format', file('format', 'x'), /no result of `emulsion eval`/],
    ['a text for a score', file('scores.fid', '3'), /scores\.fid must be a number, got "3"/],
    ['a score nobody knows', file('scores.best', 1), /scores must be of fid, .*got "best"/],
    ['scores that are none', file('scores', 4), /scores must be an object/],
    ['endless notes', file('notes', Array(101).fill('')), /notes must be a list/],
    ['a note that is none', file('notes', [{}]), /notes\[0\] must be a text/],
    ['no protocol', file('protocol', undefined), /protocol must be an object, got nothing/],
    ['a field too many', file('protocol.evil', 1), /protocol has a field "evil"/],
    ['a field too few', file('protocol.lpips', undefined), /lpips must be a SHA-256/],
    [
      'a hash that is none',
      file('protocol.reference.hash', 'x'),
      /reference\.hash must be a SHA-256/,
    ],
    ['another task', file('protocol.task', 'all'), /task must be one of sets/],
    ['an extractor without a name', file('protocol.extractor.name', 7), /name must be a text/],
    ['another resize', file('protocol.extractor.resize', 'best'), /resize must be one of tf/],
    ['half a picture', file('protocol.samples.count', 0.5), /count must be a whole number/],
    [
      'a long text',
      file('protocol.emulsion', 'x'.repeat(5000)),
      /emulsion must be a text, got "x+\.\.\.\.?/,
    ],
    ['a prototype', file('protocol.size', 1).replace('"size"', '"__proto__"'), /__proto__/],
  ])('%s', async (_, text, message) => {
    writeFileSync(inFolder('bad.json'), text);
    await expect(loadEvaluation(inFolder('bad.json'))).rejects.toThrow(FileError);
    await expect(loadEvaluation(inFolder('bad.json'))).rejects.toThrow(message);
  });
});

describe('unlike protocols', () => {
  const fields = (...protocols: Protocol[]) =>
    protocolDifferences([evaluation.protocol, ...protocols]).map(({ field }) => field);

  test('pictures and where they come from may differ, nothing else', () => {
    const other = '00'.repeat(32);
    const alike = changed((protocol) => {
      protocol.emulsion = '0.2.0';
      protocol.samples = { ...evaluation.protocol.samples, hash: other };
      protocol.sampling = {
        ...sampling,
        model: 'logs/b',
        modelHash: other,
        weights: 'raw',
        seed: 9,
      };
    });
    expect(fields(alike)).toEqual([]);
    expect(() => checkComparable([{ name: 'a', protocol: alike }])).not.toThrow();
    expect(fields(changed((p) => (p.size = null)))).toEqual(['size']);
    expect(fields(changed((p) => (p.reference = { hash: other, count: null })))).toEqual([
      'reference.count',
      'reference.hash',
    ]);
    const steps = changed((p) => (p.sampling = { ...sampling, steps: 20, eta: 0 }));
    expect(fields(steps)).toEqual(['sampling.eta', 'sampling.steps']);
    const classes = { ...evaluation.protocol.samples.classes!, hash: other };
    const others = changed((p) => (p.samples = { ...evaluation.protocol.samples, classes }));
    expect(fields(others)).toEqual(['samples.classes.hash']);
    const unknown = fields(changed((p) => (p.sampling = null)));
    expect(unknown).toContain('sampling.sampler');
  });

  test('are refused with every field that differs, unless it is meant to', () => {
    const steps = changed((p) => {
      p.sampling = { ...sampling, steps: 20 };
      p.samples = { ...evaluation.protocol.samples, count: 400 };
    });
    const results = [
      { name: 'a', protocol: evaluation.protocol },
      { name: 'b', protocol: steps },
    ];
    expect(() => checkComparable(results)).toThrow(
      /not measured alike.*samples\.count: 500 \(a\), 400 \(b\)\n.*sampling\.steps: 200 \(a\), 20 \(b\)\n/s,
    );
    expect(() => checkComparable(results, ['sampling'])).toThrow(/samples\.count/);
    expect(() => checkComparable(results, ['sampling.step'])).toThrow(/sampling\.steps/);
    checkComparable(results, ['sampling.steps', 'samples']);
  });
});

describe('the record beside samples', () => {
  const recordOf = (text: string, count = 8) => {
    mkdirSync(inFolder('pictures'), { recursive: true });
    writeFileSync(join(inFolder('pictures'), 'sampling_config.json'), text);
    return readSamplingRecord(inFolder('pictures'), count);
  };
  const run = {
    first: 0,
    count: 8,
    model: 'm',
    weights: 'ema',
    sampler: 'ddim',
    steps: 50,
    seed: 3,
  };

  test('tells how they were made, defaults included', async () => {
    expect(await readSamplingRecord(inFolder('nothing'), 8)).toBeNull();
    expect(await recordOf(JSON.stringify([run]))).toEqual({
      sampling: {
        ...{ model: 'm', modelHash: null, weights: 'ema', sampler: 'ddim', steps: 50 },
        ...{ spacing: 'uniform', eta: 0, guidance: 1, seed: 3, condition: null },
      },
      classes: null,
      notes: [],
    });
  });

  test('several runs are merged: what differs is said to be mixed', async () => {
    const record = await recordOf(
      JSON.stringify([
        { ...run, classes: [1, 2], eta: 0 },
        { ...run, first: 8, count: 2, steps: 20, classes: [2, 7] },
      ]),
      11,
    );
    expect(record!.sampling).toMatchObject({ steps: 'mixed: 50, 20', eta: 0 });
    expect(record!.classes).toMatchObject({ count: 3, least: 1, most: 5 });
    expect(record!.notes.join()).toMatch(/speaks of 10 pictures, but 11 are there/);
  });

  test('other classes, prompts, masks or sizes are told apart, and nothing else is', async () => {
    const told = async (...runs: object[]) => (await recordOf(JSON.stringify(runs)))!;
    const condition = async (...settings: object[]) =>
      (await told(...settings.map((each) => ({ ...run, ...each })))).sampling.condition;
    expect(await condition({ classes: [1], perClass: 8, emulsion: '9' })).toBeNull();
    const cats = await condition({ prompts: ['a cat'] });
    expect(cats).toMatch(/^[0-9a-f]{64}$/);
    expect(await condition({ prompts: ['a dog'] })).not.toBe(cats);
    expect(await condition({ prompts: ['a cat'] }, { prompts: ['a cat'], seed: 9 })).toBe(cats);
    const classes = async (...ids: number[]) =>
      (await told({ ...run, classes: ids })).classes!.hash;
    expect(await classes(1, 2)).toBe(await classes(2, 1));
    expect(await classes(1, 2)).not.toBe(await classes(1, 3));
  });

  test.each<[string, RegExp]>([
    ['{}', /no list of runs/],
    ['[]', /no list of runs/],
    ['[1]', /no list of runs/],
    ['[{', /not a valid JSON file/],
  ])('%s is refused', async (text, message) => {
    await expect(recordOf(text)).rejects.toThrow(FileError);
    await expect(recordOf(text)).rejects.toThrow(message);
  });

  test('values of any kind are taken for what they are not', async () => {
    const odd = {
      ...run,
      steps: { deep: [] },
      guidance: 'x'.repeat(5000),
      count: 'many',
      classes: [],
    };
    const { sampling, classes } = (await recordOf(JSON.stringify([odd])))!;
    expect([sampling.steps, classes]).toEqual([null, null]);
    expect(sampling.guidance).toHaveLength(1000);
  });
});
