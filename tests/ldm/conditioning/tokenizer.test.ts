// Token ids as the originals make them; the expected ones are those of Hugging Face's own tokenizers (0.23.2, Rust)
// on the same vocabularies.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, it, test } from 'vitest';
import { checkTokenizer, openTokenizer, TextTokenizer } from '../../../lib/index.js';
import { bertLines, tinyClip } from './vocabularies.js';
import { temporaryFolder } from '../../io/temporary.js';

const inFolder = temporaryFolder();
const refuse = (message: string): never => {
  throw new Error(`unexpected warning: ${message}`);
};
const filled = (ids: readonly number[], length: number, filling: number): number[] => [
  ...ids,
  ...new Array<number>(length - ids.length).fill(filling),
];

beforeAll(() => {
  writeFileSync(inFolder('vocab.txt'), `${bertLines.join('\n')}\n`);
});

describe('BERT', () => {
  test.each([
    ['', []],
    ['A Fox, foxes!', [104, 105, 111, 105, 106, 112]],
    [
      "unaffable Café's\u0007 東京-fox zebra",
      [107, 108, 109, 115, 113, 114, 116, 117, 118, 105, 100],
    ],
    ['  a\t\nfox ', [104, 105]],
    ['x'.repeat(101), [100]],
    ['a [MASK] fox', [104, 103, 105]],
  ])('%j', async (text, pieces) => {
    const tokenizer = await TextTokenizer.open(inFolder('vocab.txt'), { length: 16, warn: refuse });
    expect(tokenizer.ids(text)).toEqual(filled([101, ...pieces, 102], 16, 0));
  });

  it('cuts a text that is too long, and says what is lost', () => {
    const told: string[] = [];
    const tokenizer = TextTokenizer.fromTexts(['a red fox'], {
      length: 4,
      warn: (message) => told.push(message),
    });
    expect(tokenizer.ids('a fox red fox')).toEqual([101, 104, 105, 102]);
    expect(told).toEqual([
      "the text has 4 tokens, and 2 fit: 'a fox red fox'. What comes too late is left out: 'red fox'.",
    ]);
  });

  it('encodes batches as int64', async () => {
    const ids = TextTokenizer.fromTexts(['fox'], { length: 3 }).encode(['fox', '']);
    expect([ids.shape, ids.dtype]).toEqual([[2, 3], 'int64']);
    expect(Array.from(await ids.data(), Number)).toEqual([101, 104, 102, 101, 102, 0]);
    ids.dispose();
  });

  it('is made of texts, its frequent words first', () => {
    const texts = ['Red fox, red hen', "the hen's red"];
    const all = TextTokenizer.fromTexts(texts);
    expect([...all.vocabulary.pieces.keys()].slice(104)).toEqual(
      ['red', 'hen', "'", ',', 'fox', 's', 'the'], // prettier-ignore
    );
    const few = TextTokenizer.fromTexts(texts, { minCount: 2, maxWords: 1 });
    expect(few.ids('red hen').slice(0, 4)).toEqual([101, 104, 100, 102]);
    expect(few.vocabSize).toBe(105);
  });
});

describe('CLIP', () => {
  const clip = new TextTokenizer(tinyClip, { length: 16, warn: refuse });

  test.each([
    ['', []],
    ['A Fox, foxes!', [18, 37, 33, 36, 10, 2, 26, 32]],
    ["The RED fox's café 12!!", [41, 39, 37, 43, 46, 0, 3, 42, 29, 30, 14, 32]],
    ["they'll", [40, 2, 46, 13, 5, 23]],
    ['a <|endoftext|> fox', [18, 46, 37]],
  ])('%j', (text, pieces) => {
    expect(clip.ids(text)).toEqual(filled([45, ...pieces, 46], 16, 46));
    const ofOpenAi = new TextTokenizer(tinyClip, {
      length: 16,
      padding: 'zeros',
      tooLong: 'throw',
    });
    expect(ofOpenAi.ids(text)).toEqual(filled([45, ...pieces, 46], 16, 0));
  });

  it('spells what ids say', () => {
    const zeros = new TextTokenizer(tinyClip, { length: 16, padding: 'zeros' });
    for (const each of [clip, zeros])
      expect(each.text(each.ids('A Fox, foxes!'))).toBe('a fox, foxes!');
    expect(clip.text(clip.ids(''))).toBe('');
    const bert = TextTokenizer.fromTexts(['a red fox'], { length: 6 });
    expect(bert.text(bert.ids('a red hen'))).toBe('a red [UNK]');
    expect(bert.text(bert.ids('fox fox fox fox'))).toBe('fox fox fox fox');
  });

  it('of OpenAI refuses a text that is too long', () => {
    const tokenizer = new TextTokenizer(tinyClip, { length: 4, tooLong: 'throw' });
    expect(() => tokenizer.ids('fox fox fox')).toThrow(
      "the text has 3 tokens, and 2 fit: 'fox fox fox'. Shorten it.",
    );
  });
});

describe('files', () => {
  it('come back from a model folder as they were', async () => {
    for (const [name, tokenizer] of [
      ['bert', await TextTokenizer.open(inFolder('vocab.txt'))],
      ['clip', new TextTokenizer(tinyClip)],
    ] as const) {
      mkdirSync(inFolder(name));
      await tokenizer.save(inFolder(name));
      expect((await TextTokenizer.open(inFolder(name))).vocabulary).toEqual(tokenizer.vocabulary);
    }
  });

  it('of CLIP may be two, and merges lists', async () => {
    mkdirSync(inFolder('pair'));
    writeFileSync(inFolder('pair/vocab.json'), JSON.stringify(Object.fromEntries(tinyClip.pieces)));
    const merges = tinyClip.merges.map((pair) => pair.join(' '));
    writeFileSync(inFolder('pair/merges.txt'), ['#version: 0.2', ...merges, ''].join('\n'));
    for (const path of ['pair', 'pair/merges.txt'])
      expect((await TextTokenizer.open(inFolder(path))).vocabulary).toEqual(tinyClip);
    const json = JSON.parse(readFileSync(inFolder('clip/tokenizer.json'), 'utf8')) as {
      model: { merges: unknown };
    };
    json.model.merges = tinyClip.merges;
    writeFileSync(inFolder('newer.json'), JSON.stringify(json));
    expect((await TextTokenizer.open(inFolder('newer.json'))).vocabulary).toEqual(tinyClip);
  });

  const bert = (vocab: object, rest: object = {}) =>
    JSON.stringify({
      normalizer: { type: 'BertNormalizer', lowercase: true },
      model: { type: 'WordPiece', vocab },
      ...rest,
    });
  const vocab = Object.fromEntries(bertLines.map((piece, id) => [piece, id]));

  test.each([
    ['list.json', '[1, 2]', 'its vocabulary must map pieces to ids'],
    ['null.json', 'null', 'its vocabulary must map pieces to ids'],
    ['half.json', '{"model": ', 'is no valid JSON'],
    ['gap.json', bert({ ...vocab, extra: 400 }), "'extra' has 400"],
    ['twice.json', bert({ ...vocab, extra: 3 }), "the id 3 of 'extra' is taken twice"],
    ['text.json', bert({ ...vocab, a: '104' }), "'a' has 104"],
    ['moved.json', bert({ a: 0, '[CLS]': 1 }), "'[PAD]' must have the id 0, as the models expect"],
    [
      'other.json',
      JSON.stringify({ model: { type: 'Unigram', vocab: {} } }),
      'another kind (Unigram)',
    ],
    ['added.json', bert(vocab, { added_tokens: [{ content: '<cat>' }] }), 'adds the token "<cat>"'],
    [
      'merge.json',
      JSON.stringify({
        model: { type: 'BPE', vocab: {}, end_of_word_suffix: '</w>', merges: ['a'] },
      }),
      'a merge must be two pieces, got "a"',
    ],
    ['double.txt', 'a\na\n', 'has a piece on two lines'],
    ['model.bin', '', 'is no tokenizer by its name'],
  ])('%s is refused', async (name, content, message) => {
    writeFileSync(inFolder(name), content);
    await expect(TextTokenizer.open(inFolder(name))).rejects.toThrow(message);
    await expect(TextTokenizer.open(inFolder(name))).rejects.toThrow(name);
  });

  test('a folder without one, or none at all, is refused', async () => {
    mkdirSync(inFolder('empty'));
    await expect(TextTokenizer.open(inFolder('empty'))).rejects.toThrow('holds no tokenizer');
    await expect(TextTokenizer.open(inFolder('nowhere'))).rejects.toThrow('cannot be read');
  });

  it('must belong to the conditioner', async () => {
    const open = (conditioner: object) =>
      openTokenizer(inFolder('vocab.txt'), conditioner as never);
    const size = bertLines.length;
    const fitting = { kind: 'bert', nEmbed: 8, nLayer: 1, vocabSize: size, maxSeqLen: 9 };
    expect((await open(fitting)).ids('').length).toBe(9);
    await expect(open({ ...fitting, vocabSize: size - 1 })).rejects.toThrow(
      `it has ${size} ids, and the conditioner knows ${size - 1}`,
    );
    await expect(open({ kind: 'clip' })).rejects.toThrow('reads ids of clip');
    await expect(open({ kind: 'class', embedDim: 8 })).rejects.toThrow('kind class reads no texts');
    await expect(open({ ...fitting, useTokenizer: false })).rejects.toThrow(
      'told by tokens of layouts (useTokenizer: false) and reads no texts',
    );
    const clip = new TextTokenizer(tinyClip, { length: 8 });
    const wide = { kind: 'clip', vocabSize: tinyClip.pieces.size + 1, maxSeqLen: 8 } as const;
    expect(() => checkTokenizer(clip, wide)).toThrow('it has 47 ids, and the conditioner knows 48');
    expect(() => checkTokenizer(clip, { ...wide, vocabSize: 47, maxSeqLen: 7 })).toThrow(
      'it makes 8 ids of a text, and the conditioner reads 7',
    );
  });
});
