// Pictures in tar archives, honest and hostile.
import { readFileSync, writeFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { pack, type Header } from 'tar-stream';
import { describe, expect, test } from 'vitest';
import { readPart } from '../../lib/data/file_bytes.js';
import { FileError, ImageFolder, TarShards, type ImageSource } from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { loaders, take, writePicture } from './pictures.js';

const inFolder = temporaryFolder();
const load = loaders();

/** Packs members in order: contents by name, or whole headers. */
async function archive(
  name: string,
  members: readonly (readonly [string | Partial<Header>, string | Buffer])[],
): Promise<string> {
  const packing = pack();
  for (const [header, contents] of members)
    packing.entry((typeof header === 'string' ? { name: header } : header) as Header, contents);
  packing.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of packing) chunks.push(chunk as Buffer);
  writeFileSync(inFolder(name), Buffer.concat(chunks));
  return inFolder(name);
}

/** A copy of an archive with its bytes changed, checksums made right again if wanted. */
function altered(
  path: string,
  change: (bytes: Buffer) => Buffer | void,
  checksumAt?: number,
): string {
  const original = Buffer.from(readFileSync(path));
  const bytes = change(original) ?? original;
  if (checksumAt !== undefined) {
    bytes.write('        ', checksumAt + 148);
    const sum = bytes.subarray(checksumAt, checksumAt + 512).reduce((a, b) => a + b, 0);
    bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, checksumAt + 148);
  }
  const copy = inFolder(`altered-${altered.count++}.tar`);
  writeFileSync(copy, bytes);
  return copy;
}
altered.count = 0;

async function contents({ source }: { source: unknown }): Promise<string> {
  const { file, begin, length } = source as Extract<ImageSource, { file: string }>;
  return (await readPart(file, begin, length)).toString();
}

describe('reading', () => {
  test('files of one stem belong together, over several archives', async () => {
    const first = await archive('first.tar', [
      [{ name: 'train', type: 'directory' }, ''],
      ['train/0001.jpg', 'JPEG one'],
      ['train/0001.cls', '7\n'],
      ['train/0001.txt', 'a cat'],
      ['train/0001.json', '{"width": 3}'],
      ['train/0001.npy', 'features'],
      ['train/0001.seg.png', 'a mask, no picture of its own'],
      ['readme.txt', 'beside no picture'],
      ['train/v1.0/0002.CLS', '11'],
      ['train/v1.0/0002.PNG', 'P'.repeat(10_000)],
      [{ name: 'link.png', type: 'symlink', linkname: '/etc/passwd' }, ''],
    ]);
    const second = await archive('second.tar', [
      ['0001.cls', '0'],
      ['0001.webp', 'WebP'],
    ]);
    const shards = await TarShards.open([first, second]);
    expect(shards.length).toBe(3);
    const items = [0, 1, 2].map((i) => shards.item(i));
    expect(items.map(({ path }) => path)).toEqual([
      `${first}:train/0001.jpg`,
      `${first}:train/v1.0/0002.PNG`,
      `${second}:0001.webp`,
    ]);
    expect(items.map(({ label }) => label)).toEqual([7, 11, 0]);
    expect(await contents(items[0])).toBe('JPEG one');
    expect(await contents(items[1])).toBe('P'.repeat(10_000));
    expect(await contents(items[2])).toBe('WebP');
    expect(await shards.text(0)).toBe('a cat');
    expect(await shards.json(0)).toEqual({ width: 3 });
    expect(await shards.text(1)).toBeUndefined();
    expect(await shards.json(2)).toBeUndefined();
  });

  test.each([0, 1])('pictures are those of the packed folder, with %i workers', async (workers) => {
    for (let n = 0; n < 4; ++n) await writePicture(inFolder(`packed/${n}.png`), n);
    const folder = await ImageFolder.open(inFolder('packed'));
    const members = folder.paths.map(
      (path) => [path, readFileSync(inFolder(`packed/${path}`))] as const,
    );
    const shards = await TarShards.open(await archive('packed.tar', members));
    const unpacked = await take(load(folder).epoch());
    const packed = await take(load(shards, { workers }).epoch());
    expect(packed.map(({ values }) => values)).toEqual(unpacked.map(({ values }) => values));
  });

  test('long and strange names', async () => {
    const names = [
      `${'d'.repeat(80)}/${'n'.repeat(60)}.png`, // ustar's prefix
      `${'long/'.repeat(60)}a.png`, // pax
      'ünï/😀.png', // pax
      '../../escape.png', // never extracted, so only a name
    ];
    const shards = await TarShards.open(
      await archive(
        'names.tar',
        names.map((name, i) => [name, `picture ${i}`] as const),
      ),
    );
    for (const [i, name] of names.entries()) {
      expect(shards.item(i).path).toBe(`${inFolder('names.tar')}:${name}`);
      expect(await contents(shards.item(i))).toBe(`picture ${i}`);
    }
  });

  test("GNU's long names and large sizes", async () => {
    const plain = await archive('gnu.tar', [
      ['././@LongLink', `${'g'.repeat(200)}.png\0`],
      ['short.png', 'picture'],
    ]);
    const typed = altered(plain, (bytes) => void (bytes[156] = 'L'.charCodeAt(0)), 0);
    const shards = await TarShards.open(typed);
    expect(shards.item(0).path).toBe(`${typed}:${'g'.repeat(200)}.png`);
    const binary = altered(
      await archive('binary.tar', [['a.png', 'picture']]),
      (bytes) => {
        bytes.fill(0, 124, 136);
        bytes[124] = 0x80;
        bytes[135] = 7;
      },
      0,
    );
    expect(await contents((await TarShards.open(binary)).item(0))).toBe('picture');
  });

  test('attributes for all members add up, the latest of a key winning', async () => {
    const attributes = (...records: string[]) =>
      records.map((each) => `${each.length + 4} ${each}\n`).join('');
    const written = await archive('global.tar', [
      ['one', attributes('size=7')],
      ['two', attributes('comment=nothing')],
      ['a.png', 'picture'],
    ]);
    // Both headers become global ones, and the member's own field says that it is empty.
    const [first, second, member] = [0, 1024, 2048];
    const marked = [first, second].reduce(
      (path, at) => altered(path, (bytes) => void (bytes[at + 156] = 'g'.charCodeAt(0)), at),
      written,
    );
    const emptied = altered(
      marked,
      (bytes) => void bytes.write('00000000000', member + 124),
      member,
    );
    expect(await contents((await TarShards.open(emptied)).item(0))).toBe('picture');
  });
});

describe('damage is named with its byte', () => {
  const offsetOf = async (path: string): Promise<number | undefined> => {
    const error: unknown = await TarShards.open(path).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(FileError);
    expect((error as FileError).message).toContain(path);
    return (error as FileError).offset;
  };
  // Headers at 0 and 1536, contents of 600 bytes; the end at 3072.
  const sound = () =>
    archive('sound.tar', [
      ['a.png', 'a'.repeat(600)],
      ['b.png', 'b'.repeat(600)],
    ]);

  test.each([
    [0, 0],
    [300, 0],
    [512, 0], // the header is whole, its contents are missing
    [1500, 1536], // so is all but the padding
    [1536, 1536],
    [2000, 1536],
    [2600, 1536],
    [3072, 3072], // all but the end mark
  ])('cut off after %i bytes', async (length, offset) => {
    const cut = altered(await sound(), (bytes) => bytes.subarray(0, length));
    expect(await offsetOf(cut)).toBe(offset);
  });

  test.each<[string, (header: Buffer) => unknown]>([
    ['a size beyond the end', (header) => header.write('77777777777\0', 124)],
    ['a size that is no number', (header) => header.write('12x45678901\0', 124)],
    ['a negative size', (header) => header.fill(0xff, 124, 136)],
    [
      'a size beyond all files',
      (header) => header.fill(0x7f, 128, 136).writeUInt32BE(0x8000_0000, 124),
    ],
    ['a sparse member', (header) => header.write('S', 156)],
  ])('%s', async (_, change) => {
    const bad = altered(await sound(), (bytes) => void change(bytes.subarray(1536, 2048)), 1536);
    expect(await offsetOf(bad)).toBe(1536);
  });

  test('a header with another checksum, a compressed archive, a text', async () => {
    expect(await offsetOf(altered(await sound(), (bytes) => void (bytes[1540] ^= 1)))).toBe(1536);
    expect(await offsetOf(altered(await sound(), () => Buffer.alloc(2048, 'text ')))).toBe(0);
  });

  test.each([
    ['99999 path=x\n', 0],
    ['12 path=a.p\n0 x=y\n', 12],
    ['-5 path=x\n', 0],
    ['no length', 0],
    ['6 path\n', 0],
    ['13 size=1e99\n', 0],
  ])('pax attributes %j', async (attributes, inside) => {
    const path = await archive('pax.tar', [
      ['attributes', attributes],
      ['a.png', 'picture'],
    ]);
    const typed = altered(path, (bytes) => void bytes.write('x', 156), 0);
    expect(await offsetOf(typed)).toBe(512 + inside);
  });

  test('a name of megabytes', async () => {
    const path = await archive('name.tar', [['name', Buffer.alloc(2 ** 20 + 1, 'n')]]);
    expect(await offsetOf(altered(path, (bytes) => void bytes.write('L', 156), 0))).toBe(0);
  });

  test('two pictures of one stem, labels that are no numbers or missing, no picture', async () => {
    const of = async (...members: [string, string][]) =>
      offsetOf(await archive('members.tar', members));
    expect(await of(['a.png', 'x'], ['a.jpg', 'y'])).toBe(1536);
    expect(await of(['a.png', 'x'], ['a.cls', 'cat'])).toBe(1536);
    expect(await of(['a.png', 'x'], ['a.cls', '1'.repeat(100)])).toBe(1536);
    expect(await of(['a.png', 'x'], ['a.cls', '1'], ['b.png', 'y'])).toBeUndefined();
    expect(await of(['a.txt', 'x'])).toBeUndefined();
  });

  test('any changed bytes give pictures or a FileError, never anything else', async () => {
    const original = await archive('any.tar', [
      [`${'long/'.repeat(60)}a.png`, 'picture'],
      ['b.png', 'picture'],
      ['b.cls', '1'],
    ]);
    const size = readFileSync(original).length;
    const change = fc.record({ at: fc.nat(size - 1), byte: fc.nat(255) });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 4 }), fc.nat(7), async (changes, header) => {
        const copy = inFolder('changed.tar');
        writeFileSync(copy, readFileSync(original));
        const checksumAt = 512 * header;
        const bad = altered(
          copy,
          (bytes) => changes.forEach(({ at, byte }) => (bytes[at] = byte)),
          checksumAt,
        );
        await TarShards.open(bad).catch((error: unknown) =>
          expect(error).toBeInstanceOf(FileError),
        );
      }),
      { numRuns: 150, seed: 1 },
    );
  });

  test('what is no file, and JSON that is none', async () => {
    for (const path of [inFolder('none.tar'), inFolder('')]) await offsetOf(path);
    const shards = await TarShards.open(
      await archive('json.tar', [
        ['a.png', 'x'],
        ['a.json', '{'],
      ]),
    );
    await expect(shards.json(0)).rejects.toThrow(FileError);
  });
});
