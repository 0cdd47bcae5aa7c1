// Folders and lists of pictures.
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FileError, ImageFolder, ImageList, MemoryImages } from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';

const inFolder = temporaryFolder();

/** Empty files: listing opens none. */
function touch(...paths: string[]): void {
  for (const path of paths) {
    mkdirSync(join(inFolder(path), '..'), { recursive: true });
    writeFileSync(inFolder(path), '');
  }
}

describe('ImageFolder', () => {
  test('lists pictures in all folders, in the order of their bytes', async () => {
    // UTF-16 has U+FF5E after the surrogates of an emoji, bytes have it before; capitals come first.
    const names = ['B.png', 'a b.JPG', 'a-1.webp', 'a.jpeg', 'a/10.png', 'a/9.gif', 'b/x/y/z.tif'];
    const late = ['～.png', '😀.png'];
    touch(...[...late, ...names].reverse().map((name) => `all/${name}`));
    touch('all/notes.txt', 'all/png', 'all/.hidden/c.png');
    mkdirSync(inFolder('all/folder.png'));
    const folder = await ImageFolder.open(inFolder('all'));
    expect(folder.paths).toEqual(['.hidden/c.png', ...names, ...late]);
    expect(folder.length).toBe(10);
    const { path, source, label } = folder.item(1);
    expect(path).toBe(inFolder('all/B.png'));
    expect(source).toEqual({ file: path });
    expect(label).toBeUndefined();
  });

  test('takes classes from the first folders', async () => {
    touch('classes/n02/a.png', 'classes/n01/deep/b.png', 'classes/n10/c.png', 'classes/n01/a.png');
    mkdirSync(inFolder('classes/n00'));
    const train = await ImageFolder.open(inFolder('classes'), { labels: 'folders' });
    expect(train.classes).toEqual(['n01', 'n02', 'n10']);
    expect(train.paths.map((_, i) => train.item(i).label)).toEqual([0, 0, 1, 2]);
    const fixed = await ImageFolder.open(inFolder('classes'), {
      labels: 'folders',
      classes: ['n10', 'n02', 'other', 'n01'],
      accept: (path) => !path.endsWith('b.png'),
    });
    expect(fixed.paths.map((path, i) => [path, fixed.item(i).label])).toEqual([
      ['n01/a.png', 3],
      ['n02/a.png', 1],
      ['n10/c.png', 0],
    ]);
    const some = { labels: 'folders', classes: ['n01', 'n02'] } as const;
    await expect(ImageFolder.open(inFolder('classes'), some)).rejects.toThrow(/n10\/c\.png/);
    touch('stray/n01/a.png', 'stray/b.png');
    await expect(ImageFolder.open(inFolder('stray'), { labels: 'folders' })).rejects.toThrow(
      /b\.png: lies in no class folder/,
    );
    const twice = { labels: 'folders', classes: ['n01', 'n02', 'n10', 'n01'] } as const;
    await expect(ImageFolder.open(inFolder('classes'), twice)).rejects.toThrow(
      /'n01' is named twice/,
    );
    await expect(ImageFolder.open(inFolder('classes'), { classes: ['n01'] })).rejects.toThrow(
      /labels: 'folders'/,
    );
  });

  test('follows links, but not in circles', async () => {
    touch('links/real/a.png', 'outside/b.png');
    symlinkSync(inFolder('links'), inFolder('links/real/up'));
    symlinkSync(inFolder('outside'), inFolder('links/more'));
    symlinkSync(inFolder('outside/b.png'), inFolder('links/c.png'));
    symlinkSync(inFolder('nowhere'), inFolder('links/dangling.png'));
    const { paths } = await ImageFolder.open(inFolder('links'));
    expect(paths).toEqual(['c.png', 'dangling.png', 'more/b.png', 'real/a.png']);
  });

  test('refuses links that lead to a folder in ever more ways', async () => {
    // 2^12 ways to the last; some more folders, and listing them would never end.
    for (let depth = 0; depth < 12; ++depth) {
      mkdirSync(inFolder(`ways/${depth}`), { recursive: true });
      for (const name of ['a', 'b'])
        symlinkSync(inFolder(`ways/${depth + 1}`), inFolder(`ways/${depth}/${name}`));
    }
    touch('ways/12/x.png');
    await expect(ImageFolder.open(inFolder('ways/0'))).rejects.toThrow(/in more than 16 ways/);
    expect((await ImageFolder.open(inFolder('ways/8'))).length).toBe(16);
  });

  test('refuses what is missing, no folder, or empty', async () => {
    touch('file.png');
    mkdirSync(inFolder('empty'));
    for (const name of ['missing', 'file.png', 'empty']) {
      const opened = ImageFolder.open(inFolder(name));
      await expect(opened).rejects.toThrow(FileError);
      await expect(opened).rejects.toThrow(inFolder(name));
    }
  });
});

describe('ImageList', () => {
  const list = (text: string | Buffer) => {
    writeFileSync(inFolder('list.txt'), text);
    return ImageList.open(inFolder('list.txt'), inFolder('root'));
  };
  const entries = async (text: string) => {
    const opened = await list(text);
    return Array.from({ length: opened.length }, (_, i) => {
      const { path, source, label } = opened.item(i);
      expect(source).toEqual({ file: path });
      return [path.slice(inFolder('root').length + 1), label];
    });
  };

  test('keeps its own order, with labels or without', async () => {
    expect(await entries('b.png\n\na/c d.png\r\n./x/../a.png')).toEqual([
      ['b.png', undefined],
      ['a/c d.png', undefined],
      ['a.png', undefined],
    ]);
    expect(await entries('\uFEFFb.png\t3\na,1.png, 12\nc.png\t0\n')).toEqual([
      ['b.png', 3],
      ['a,1.png', 12],
      ['c.png', 0],
    ]);
    expect(await entries('a,b.png\n')).toEqual([['a,b.png', undefined]]);
  });

  test('names its damaged lines', async () => {
    const damaged = list(
      'a.png\t1\n\nb.png\nc.png\tcat\n\t4\n../up.png,1\n/etc/x.png,2\nd.png,-1\n',
    );
    await expect(damaged).rejects.toThrow(FileError);
    for (const line of [3, 4, 5, 6, 7, 8])
      await expect(damaged).rejects.toThrow(new RegExp(`line ${line}: `));
    await expect(damaged).rejects.not.toThrow(/line [129]:/);
    await expect(list(Buffer.from([0x61, 0xff, 0x2e, 0x70]))).rejects.toThrow(/line 1: .*UTF-8/);
    await expect(list('x\0.png')).rejects.toThrow(/line 1/);
    await expect(list('..\n'.repeat(30))).rejects.toThrow(/line 10: .*and 20 more lines/);
  });

  test('refuses what is empty, missing or a folder', async () => {
    await expect(list('\n\n')).rejects.toThrow(/the list is empty/);
    symlinkSync('/dev/zero', inFolder('endless.txt'));
    for (const path of [inFolder('none.txt'), inFolder(''), inFolder('endless.txt')])
      await expect(ImageList.open(path, inFolder('root'))).rejects.toThrow(FileError);
  });
});

test('MemoryImages checks its bytes and labels', () => {
  const size = { width: 2, height: 1, channels: 3 } as const;
  const images = new MemoryImages(
    Uint8Array.from({ length: 12 }, (_, i) => i),
    {
      ...size,
      labels: [5, 6],
    },
  );
  expect(images.length).toBe(2);
  expect(images.item(1)).toMatchObject({
    label: 6,
    source: { pixels: { ...size, data: Uint8Array.of(6, 7, 8, 9, 10, 11) } },
  });
  expect(() => new MemoryImages(new Uint8Array(13), size)).toThrow(/13 bytes/);
  expect(() => new MemoryImages(new Uint8Array(12), { ...size, labels: [1] })).toThrow(/labels/);
  expect(() => new MemoryImages(new Uint8Array(0), { ...size, width: 0 })).toThrow(/width/);
});
