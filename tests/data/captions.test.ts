// Pictures with captions: folders, lists, and which caption an epoch takes.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import {
  captionCondition,
  CaptionedImages,
  DataLoader,
  datasetTargets,
  FileError,
  ImageFolder,
  MemoryImages,
  parseYaml,
  TextTokenizer,
  type ConditionSource,
  type Dataset,
  type PreparedPicture,
  type Tensor,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { pictureBytes } from './pictures.js';

const inFolder = temporaryFolder();

function write(path: string, content = ''): string {
  mkdirSync(dirname(inFolder(path)), { recursive: true });
  writeFileSync(inFolder(path), content);
  return inFolder(path);
}

const captionsOf = (set: CaptionedImages) =>
  Array.from({ length: set.length }, (_, i) => {
    const { path, captions } = set.item(i);
    return [path.slice(set.root.length + 1), captions];
  });

describe('folders', () => {
  test('have captions in files of text beside the pictures', async () => {
    for (const path of ['b.png', 'a/fox.2.jpg']) write(`beside/${path}`);
    write('beside/b.txt', '\uFEFFa red fox\r\n\n  two foxes  \n');
    write('beside/a/fox.2.txt', 'fox');
    write('beside/notes.txt', 'of nothing');
    const set = await CaptionedImages.openFolder(inFolder('beside'));
    expect(captionsOf(set)).toEqual([
      ['a/fox.2.jpg', ['fox']],
      ['b.png', ['a red fox', 'two foxes']],
    ]);
    expect(set.item(1).source).toEqual({ file: inFolder('beside/b.png') });
  });

  test('must have one for each picture', async () => {
    for (const name of ['a.png', 'b.png']) write(`missing/${name}`);
    write('missing/a.txt', 'fox');
    await expect(CaptionedImages.openFolder(inFolder('missing'))).rejects.toThrow(/b\.txt/);
    write('missing/b.txt', ' \n');
    await expect(CaptionedImages.openFolder(inFolder('missing'))).rejects.toThrow('is empty');
  });
});

describe('lists', () => {
  const open = (name: string, content: string) =>
    CaptionedImages.openList(write(`lists/${name}`, content), inFolder('lists'));

  test('of JSON lines gather the captions of a picture', async () => {
    const lines = [
      { file_name: 'b.png', text: 'a "red" fox' },
      { file_name: 'a/1.png', caption: 'hen', width: 3 },
      { file_name: 'b.png', captions: ['two', ' ', 'three'] },
    ];
    const set = await open(
      'm.jsonl',
      `${lines.map((line) => JSON.stringify(line)).join('\n')}\n\n`,
    );
    expect(captionsOf(set)).toEqual([
      ['b.png', ['a "red" fox', 'two', 'three']],
      ['a/1.png', ['hen']],
    ]);
  });

  test('of comma-separated values have quotes', async () => {
    const rows = [
      'id,file_name,text',
      '1,a.png,plain',
      '2,"b, c.png","says ""hi"",\nthen goes"',
      '',
    ];
    expect(captionsOf(await open('m.csv', rows.join('\r\n')))).toEqual([
      ['a.png', ['plain']],
      ['b, c.png', ['says "hi",\nthen goes']],
    ]);
  });

  test("are COCO's", async () => {
    const coco = {
      images: [
        { id: 7, file_name: '7.jpg' },
        { id: 8, file_name: '8.jpg' },
        { id: 9, file_name: '9.jpg' },
      ],
      annotations: [
        { image_id: 9, caption: 'A fox. ' },
        { image_id: 7, caption: 'A hen.' },
        { image_id: 9, caption: 'Snow.' },
      ],
    };
    expect(captionsOf(await open('captions.json', JSON.stringify(coco)))).toEqual([
      ['7.jpg', ['A hen.']],
      ['9.jpg', ['A fox.', 'Snow.']],
    ]);
  });

  test.each([
    [
      'a.jsonl',
      '{"file_name": "a.png"}\n{"text": "x"}\n{"half',
      [/line 1: the text is missing/, /line 2: the path is missing/, /line 3: the path/],
    ],
    ['b.jsonl', '{"file_name": "../../a.png", "text": "x"}', [/leads out of the root/]],
    ['c.jsonl', 'null\n7\n', [/line 2: the path is missing/]],
    ['d.jsonl', '\n', [/the list is empty/]],
    ['e.csv', 'name,text\na.png,x\n', [/must name the columns file_name and text. Got name, text/]],
    ['f.csv', 'file_name,text\na.png,"x\n', [/quotes of row 2 do not match/]],
    ['g.csv', 'file_name,text\na.png\nb.png,\n', [/row 2: the text is missing; row 3: the text/]],
    ['h.json', '[]', [/no lists of images and annotations/]],
    ['i.json', '{"images": [', [/a valid JSON/]],
    ['j.txt', 'a', [/no list of captions by its name/]],
  ])('%s is refused', async (name, content, messages) => {
    for (const message of messages) await expect(open(name, content)).rejects.toThrow(message);
    await expect(open(name, content)).rejects.toBeInstanceOf(FileError);
  });

  test('need a folder of pictures', async () => {
    const list = write('lists/z.jsonl', '{"file_name": "a.png", "text": "x"}');
    await expect(CaptionedImages.openList(list, inFolder('nowhere'))).rejects.toThrow(
      'is no folder',
    );
  });
});

describe('captionCondition', () => {
  const tokenizer = TextTokenizer.fromTexts(['one', 'two', 'three'], { length: 4 });
  const size = { width: 4, height: 4, channels: 3 } as const;
  const pixels = Uint8Array.from([0, 1].flatMap((n) => [...pictureBytes(n, size)]));
  const plain = new MemoryImages(pixels, size);
  const captions = [['one', 'two', 'three'], ['two']];
  const set: Dataset = {
    length: 2,
    item: (index) => ({ ...plain.item(index), captions: captions[index] }),
  };
  const words = async (x: Tensor): Promise<string[]> => {
    const ids = Array.from(await x.data(), Number);
    const byId = new Map([...tokenizer.vocabulary.pieces].map(([piece, id]) => [id, piece]));
    return Array.from({ length: x.shape[0] }, (_, n) => byId.get(ids[4 * n + 1])!);
  };

  async function drawn(from: number, count: number): Promise<string[]> {
    const loader = new DataLoader(set, {
      ...{ batchSize: 2, transform: { size: 4 }, workers: 0, seed: 3, shuffle: false },
      condition: captionCondition(tokenizer),
    });
    const found: string[] = [];
    for await (const { image, condition } of loader.batches({ from })) {
      const ids = condition as Tensor;
      expect([ids.shape, ids.dtype]).toEqual([[2, 4], 'int64']);
      found.push((await words(ids)).join(' '));
      for (const x of [image, ids]) x.dispose();
      if (found.length === count) break;
    }
    await loader.dispose();
    return found;
  }

  test('takes another caption in other epochs, the same for the same seed', async () => {
    const all = await drawn(0, 12);
    expect(new Set(all)).toEqual(new Set(['one two', 'two two', 'three two']));
    expect(await drawn(5, 7)).toEqual(all.slice(5));
  });

  test('refuses pictures without', async () => {
    const condition = captionCondition(tokenizer);
    const loader = new DataLoader(plain, {
      ...{ batchSize: 1, transform: { size: 4 }, workers: 0, condition },
    });
    await expect(loader.batches().next()).rejects.toThrow('the picture has no caption');
    await loader.dispose();
  });
});

test('a list in a configuration makes ids for the model that it trains', async () => {
  mkdirSync(inFolder('tokenizer'));
  const words = TextTokenizer.fromTexts(['one two three']);
  await words.save(inFolder('tokenizer'));
  const list = write('listed/m.csv', 'file_name,text\na.png,one two three\nb.png,three two one\n');
  const text = `{target: emulsion.data.CaptionList, params: {size: 8, data_root: ${inFolder('listed')},
    list: ${list}, tokenizer: ${inFolder('tokenizer')}}}`;
  const { spec, build } = datasetTargets.read(parseYaml(text, 'data.yaml'), 'train');
  const set = await build();
  const conditioner = { kind: 'bert', nEmbed: 8, nLayer: 1, vocabSize: 107, maxSeqLen: 4 } as const;
  const source = (await spec.condition!(conditioner)) as ConditionSource<readonly number[]>;
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
  onTestFinished(() => warn.mockRestore());
  const picture = { size: 8, channels: 3, key: { seed: 0, epoch: 0 } } as PreparedPicture;
  const ids = [0, 1].map((index) => source.sample({ ...picture, index, item: set.item(index) }));
  expect(ids).toEqual([
    [101, 104, 106, 102],
    [101, 105, 106, 102],
  ]);
  expect(warn.mock.calls).toEqual([[expect.stringContaining('Others like it are not told of.')]]);
});

describe('words of class folders', () => {
  const words = 'n01 tench, Tinca tinca\nn02  goldfish\r\n\nn03 cock\n';

  test('name the classes', async () => {
    for (const path of ['n02/a.png', 'n01/b.png']) write(`net/${path}`);
    const file = write('words.txt', words);
    const set = await ImageFolder.open(inFolder('net'), { labels: 'folders', words: file });
    expect(set.classNames).toEqual(['tench, Tinca tinca', 'goldfish']);
    expect(set.classes).toEqual(['n01', 'n02']);
    expect((await ImageFolder.open(inFolder('net'), { labels: 'folders' })).classNames).toEqual([
      'n01',
      'n02',
    ]);
  });

  test('must name all of them', async () => {
    write('net/n04/a.png');
    const file = write('words.txt', words);
    const open = ImageFolder.open(inFolder('net'), { labels: 'folders', words: file });
    await expect(open).rejects.toThrow('has no words for the class n04');
    await expect(ImageFolder.open(inFolder('net'), { words: file })).rejects.toThrow(
      "without labels: 'folders'",
    );
  });
});
