import { symlinkSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { loadConfigTree, mergeAll, parseOverride } from '../../lib/config/merge.js';
import { toPlain } from '../../lib/config/node.js';
import { readScalar } from '../../lib/config/scalar.js';
import { formatYaml, parseYaml } from '../../lib/config/yaml.js';
import { ConfigError, FileError, type Json } from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';

const file = temporaryFolder();
const plain = (text: string) => toPlain(parseYaml(text, 'a.yaml'));

// What OmegaConf 2.1 reads from the same text.
test.each([
  ['4.5e-6', 4.5e-6],
  ['4.5e-06', 4.5e-6],
  ['1.e-6', 1e-6],
  ['1e-4', 1e-4],
  ['-1E+3', -1000],
  ['.5', 0.5],
  ['1_000', 1000],
  ['50001', 50001],
  ['-7', -7],
  ['0x1F', 31],
  ['0b101', 5],
  ['0755', 493],
  ['-010', -8],
  ['.inf', Infinity],
  ['-.INF', -Infinity],
  ['true', true],
  ['True', true],
  ['yes', true],
  ['off', false],
  ['y', 'y'],
  ['null', null],
  ['~', null],
  ['', null],
  ['none', 'none'],
  ['2021-01-01', '2021-01-01'],
  ['1:30', '1:30'],
  ['1.2.3', '1.2.3'],
  ['09', '09'],
  ['e5', 'e5'],
])('the scalar %s', (text, value) => {
  expect(readScalar(text)).toBe(value);
});

test('not a number', () => {
  expect(readScalar('.nan')).toBeNaN();
});

describe('YAML', () => {
  test('mappings, lists, quotes and comments', () => {
    const text =
      'model:\n  lr: 4.5e-6 # base\n  "name": "1e-4"\n  ch_mult: [ 1,2, 4 ]\ndata: [{a: yes}, ~]\n';
    expect(plain(text)).toEqual({
      model: { lr: 4.5e-6, name: '1e-4', ch_mult: [1, 2, 4] },
      data: [{ a: true }, null],
    });
    expect(plain('')).toBeNull();
    expect(plain('a:\nb: 1')).toEqual({ a: null, b: 1 });
  });

  test('aliases repeat what they name', () => {
    expect(plain('a: &x [1, 2]\nb: *x\nc: {d: *x}')).toEqual({
      a: [1, 2],
      b: [1, 2],
      c: { d: [1, 2] },
    });
  });

  test.each([
    ['a:\n  - b\n c: [', /^a\.yaml:3:\d+: not valid YAML/],
    ['a: 1\nb: !!python/object:os.system x', /^a\.yaml:2:\d+: tags are not supported/],
    ['a: !!int "3"', /^a\.yaml:1:\d+: tags are not supported/],
    ['x: 1\ny:\n  a: 1\n  a: 2', /^a\.yaml:4:3: the key "a" comes twice/],
    ['a:\n  __proto__: {b: 1}', /^a\.yaml:2:3: the key "__proto__" is not allowed/],
    ['a: *nobody', /^a\.yaml:1:\d+: (the alias \*nobody has no anchor|not valid YAML)/],
    ['[a, b]: 1', /^a\.yaml:1:1: a key must be a plain name/],
    ['a: &a [*a]', /^a\.yaml:1:\d+: nested deeper than 64/],
    ['['.repeat(100) + ']'.repeat(100), /^a\.yaml:1:\d+: nested deeper than 64/],
    ['- '.repeat(20_000), /^a\.yaml:1:\d+: nested deeper than 64/],
    ['['.repeat(20_000), /^a\.yaml:1:\d+: nested deeper than 64/],
    ['a'.repeat(300_000), /^a\.yaml: 300000 characters are too many/],
    ['a: 1\n---\nb: 2', /^a\.yaml:2:1: a second document begins here/],
  ])('refuses %#', (text, message) => {
    const parse = () => plain(text);
    expect(parse).toThrow(ConfigError);
    expect(parse).toThrow(message);
  });

  test('aliases of aliases do not explode', () => {
    const lines = ['a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]'];
    for (let i = 1; i < 30; ++i) lines.push(`a${i}: &a${i} [${`*a${i - 1}, `.repeat(9)}]`);
    expect(() => plain(lines.join('\n'))).toThrow(/more than 50000 values/);
  });
});

describe('merging', () => {
  test('later files win, key by key; overrides win over all', async () => {
    writeFileSync(
      file('base.yaml'),
      'model:\n  target: A\n  params: {embed_dim: 3, ch_mult: [1, 2]}\n',
    );
    writeFileSync(file('more.yaml'), 'model:\n  params: {ch_mult: [4], monitor: x}\ndata: 1\n');
    const tree = await loadConfigTree(
      [file('base.yaml'), file('more.yaml')],
      ['model.params.embed_dim=4', 'model.params.ddconfig.attn_resolutions=[8, 16]', 'data='],
    );
    expect(toPlain(tree)).toEqual({
      model: {
        target: 'A',
        params: {
          embed_dim: 4,
          ch_mult: [4],
          monitor: 'x',
          ddconfig: { attn_resolutions: [8, 16] },
        },
      },
      data: null,
    });
  });

  test.each(['model', '=3', 'a..b=3', 'a.__proto__.b=1', 'a b=1', 'a=[1', 'a={__proto__: 1}'])(
    'the override %s is refused',
    (text) => {
      expect(() => parseOverride(text)).toThrow(ConfigError);
      expect(() => parseOverride(text)).toThrow(/^override "/);
    },
  );

  test('an override of a path that is too deep is refused', () => {
    expect(() => mergeAll([parseOverride(`${'a.'.repeat(100_000)}a=1`)])).toThrow(ConfigError);
  });

  test('a file that is missing or no mapping', async () => {
    await expect(loadConfigTree([file('none.yaml')])).rejects.toThrow(FileError);
    writeFileSync(file('list.yaml'), '\n- 1');
    await expect(loadConfigTree([file('list.yaml')])).rejects.toThrow(/list\.yaml:2:1: expected a/);
    symlinkSync('/dev/zero', file('endless.yaml'));
    await expect(loadConfigTree([file('endless.yaml')])).rejects.toThrow(/is a pipe or device/);
    await expect(loadConfigTree([])).rejects.toThrow(/at least one/);
  });

  test('interpolations name a value by its path', () => {
    const text = 'a: {b: 3, l: [5]}\nc: ${a.b}\nd: "x${c}y${a.l.0}"\ne: ${c}';
    const tree = mergeAll([parseYaml(text, 'a.yaml'), parseOverride('a.b=4')]);
    expect(toPlain(tree)).toEqual({ a: { b: 4, l: [5] }, c: 4, d: 'x4y5', e: 4 });
  });

  test.each([
    ['a: ${b}\nb: ${a}', /refers to itself/],
    ['a: ${b.c}', /a\.yaml:1:1: \$\{b\.c\} does not exist/],
    ['a: ${b}\nb: {c: 1}', /is a mapping; only a single value/],
    ['a: ${oc.env:HOME}', /is not supported/],
  ])('the interpolation in %j is refused', (text, message) => {
    expect(() => mergeAll([parseYaml(text, 'a.yaml')])).toThrow(message);
  });

  test('interpolations of interpolations do not explode', () => {
    const lines = ['a0: ""'];
    for (let i = 1; i < 60; ++i) lines.push(`a${i}: "\${a${i - 1}}\${a${i - 1}}"`);
    expect(toPlain(mergeAll([parseYaml(lines.join('\n'), 'a.yaml')]))).toMatchObject({ a59: '' });
    const chain = Array.from({ length: 9000 }, (_, i) => `a${i}: \${a${i + 1}}`).join('\n');
    expect(() => mergeAll([parseYaml(`${chain}\na9000: 1`, 'a.yaml')])).toThrow(
      /^a\.yaml:\d+:1: .*64/,
    );
    const grows = lines.join('\n').replace('""', 'xy');
    expect(() => mergeAll([parseYaml(grows, 'a.yaml')])).toThrow(/more than 4096 characters/);
  });
});

test('what is written is read again', () => {
  const data = fc.letrec<{ value: Json }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom('no', 'y', '1e-4', '0b1', '~', '', '1:30', '2021-01-01', ' a: b #', '.inf'),
      fc.string(),
      fc.double({ noNaN: true }).map((x) => x + 0),
      fc.boolean(),
      fc.constant(null),
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(
        fc.string().filter((key) => key !== '__proto__'),
        tie('value'),
        { maxKeys: 4 },
      ),
    ),
  })).value;
  fc.assert(
    fc.property(data, (value) => {
      expect(plain(formatYaml(value))).toEqual(value);
    }),
    { numRuns: 500 },
  );
});
