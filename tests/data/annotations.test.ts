// Annotated pictures: COCO's JSON and OpenImages' rows, what is taken of them, and what is refused.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AnnotatedImages, type AnnotationOptions } from '../../lib/index.js';

let folder: string;
beforeAll(async () => (folder = await mkdtemp(join(tmpdir(), 'annotations-'))));
afterAll(() => rm(folder, { recursive: true }));

let files = 0;
async function written(content: unknown): Promise<string> {
  const path = join(folder, `file-${files++}`);
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

const coco = () => ({
  categories: [
    { id: 1, name: 'person' },
    { id: 2, name: 'bicycle' },
    { id: 10, name: 'traffic light' },
  ],
  images: [
    { id: 9, file_name: '000000000009.jpg', width: 200, height: 100 },
    { id: 25, file_name: '000000000025.jpg', width: 10, height: 10 },
  ],
  annotations: [
    { id: 1, image_id: 9, category_id: 2, bbox: [10, 20, 30, 40], iscrowd: 0 } as Record<
      string,
      unknown
    >,
    { id: 2, image_id: 9, category_id: 10, bbox: [-5, 90, 20, 30.5], iscrowd: 1 },
    { id: 3, image_id: 25, category_id: 1, bbox: [0, 0, 0.2, 0.2], iscrowd: 0 },
    { id: 4, image_id: 25, category_id: 1, bbox: [20, 2, 3, 4], iscrowd: 0 },
  ],
});

describe('COCO', () => {
  const open = async (content: unknown, options?: AnnotationOptions) =>
    AnnotatedImages.openCoco(await written(content), 'photos', options);

  test('numbers categories in the order of their ids as texts, and cuts boxes at the edges', async () => {
    const images = await open(coco());
    expect(images.categories.map(({ id }) => id)).toEqual(['1', '10', '2']);
    expect(images.length).toBe(2);
    const { path, boxes } = images.item(0);
    expect(path).toBe(join('photos', '000000000009.jpg'));
    expect(boxes).toEqual([
      { label: 2, x: 10, y: 20, width: 30, height: 40 },
      { label: 1, x: 0, y: 90, width: 15, height: 10 },
    ]);
    // The one that lies wholly outside is gone.
    expect(images.item(1).boxes).toEqual([{ label: 0, x: 0, y: 0, width: 0.2, height: 0.2 }]);
  });

  test('filters small objects, crowds, categories, and pictures by their number of objects', async () => {
    const found = async (options: AnnotationOptions) => {
      const images = await open(coco(), options);
      return Array.from({ length: images.length }, (_, i) => images.item(i).boxes!.length);
    };
    expect(await found({ minObjectArea: 1e-3 })).toEqual([2]);
    expect(await found({ minObjects: 2 })).toEqual([2]);
    expect(await found({ maxObjects: 1 })).toEqual([1]);
    expect(await found({ crowds: 'skip' })).toEqual([1, 1]);
    expect(await found({ only: ['bicycle'] })).toEqual([1]);
    expect(await found({ without: ['1'] })).toEqual([2]);
    const grouped = await open(coco(), { crowds: 'group', merge: { '2': '10' } });
    expect(grouped.categories.map(({ name }) => name)).toEqual(['person', 'traffic light']);
    expect(grouped.item(0).boxes).toMatchObject([{ label: 1 }, { label: 1, isGroupOf: true }]);
    await expect(open(coco(), { minObjects: 3 })).rejects.toThrow('no picture has 3 to 30 objects');
    await expect(open(coco(), { only: ['bycicle'] })).rejects.toThrow("Did you mean 'bicycle'?");
  });

  test('joins the files of things and stuff', async () => {
    const stuff = { ...coco(), categories: [{ id: 92, name: 'banner' }] };
    stuff.annotations = [{ image_id: 25, category_id: 92, bbox: [1, 1, 5, 5] }];
    const images = await AnnotatedImages.openCoco(
      [await written(coco()), await written(stuff)],
      '.',
    );
    expect(images.categories.length).toBe(4);
    expect(images.item(1).boxes!.map(({ label }) => label)).toEqual([0, 3]);
  });

  const broken = (change: (file: ReturnType<typeof coco>) => void) => {
    const file = coco();
    change(file);
    return file;
  };
  test.each<[string, unknown]>([
    ['a valid JSON', '{'],
    ['expected an object', '[]'],
    ["categories must be a list. Is this an annotation of COCO's form?", {}],
    ['images[1] must be an object', broken((file) => (file.images[1] = null as never))],
    [
      'images[0].width must be a positive whole number. Got 1e+300',
      broken((file) => (file.images[0].width = 1e300)),
    ],
    [
      'annotations[0]: there is no image with the id 7',
      broken((file) => (file.annotations[0].image_id = 7)),
    ],
    [
      'annotations[0]: there is no category with the id 3',
      broken((file) => (file.annotations[0].category_id = 3)),
    ],
    [
      'annotations[3].bbox must be [x, y, width, height]',
      broken((file) => (file.annotations[3].bbox = [0, 0, -1, 2])),
    ],
    [
      'annotations[3].bbox must be [x, y, width, height]',
      broken((file) => (file.annotations[3].bbox = [0, 0, null, 2])),
    ],
    ['leads out of the', broken((file) => (file.images[0].file_name = '../../etc/passwd'))],
    ["category 1 is 'bicycle' in one place", broken((file) => (file.categories[1].id = 1))],
  ])('refuses a file: %s', async (message, content) => {
    await expect(open(content)).rejects.toThrow(message);
  });
});

describe('OpenImages', () => {
  const header =
    'ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside';
  const rows = [
    'aa01,xclick,/m/04bcr3,1,0.25,0.75,0.5,1.25,1,0,1,-1,0',
    'aa02,xclick,/m/011k07,1,0,0.001,0,0.001,0,0,0,0,0',
    'aa01,xclick,/m/01s55n,1,0.1,0.2,0.3,0.4,0,0,0,0,1',
  ];
  const names = '/m/01s55n,Footwear\r\n/m/011k07,Tortoise\n/m/04bcr3,"Table, of wood"\n';
  const open = async (lines: readonly string[], options?: AnnotationOptions, classes = names) =>
    AnnotatedImages.openOpenImages(
      { boxes: await written(lines.join('\n')), classes: await written(classes) },
      'photos',
      options,
    );

  test('reads rows, with shares of the picture for boxes', async () => {
    const images = await open([header, ...rows]);
    // Footwear comes last, as in the original.
    expect(images.categories.map(({ name }) => name)).toEqual([
      'Tortoise',
      'Table, of wood',
      'Footwear',
    ]);
    expect(images.item(0)).toMatchObject({
      path: join('photos', 'aa01.jpg'),
      boxes: [
        {
          label: 1,
          x: 0.25,
          y: 0.5,
          width: 0.5,
          height: 0.5,
          relative: true,
          isGroupOf: true,
          isOccluded: true,
        },
        { label: 2, isInside: true },
      ],
    });
    expect(images.item(0).boxes![0]).not.toHaveProperty('isDepiction');
    expect((await open([header, ...rows], { minObjectArea: 1e-4 })).length).toBe(1);
  });

  test('reads files longer than what is read at once', async () => {
    const many = Array.from({ length: 30_000 }, (_, i) => rows[0].replace('aa01', `id${i >> 1}`));
    const images = await open([header, ...many]);
    expect(images.length).toBe(15_000);
    expect(images.item(14_999).boxes!.length).toBe(2);
  });

  test.each<[string, string[]]>([
    ['row 1: the first row must name the columns; it lacks XMin', [header.replace('XMin', 'X')]],
    ["row 2: XMax must be a number, got 'wide'", [header, rows[0].replace('0.75', 'wide')]],
    ['row 3: XMax and YMax must not be below', [header, rows[0], rows[0].replace('0.75', '0.2')]],
    ['row 2: /m/0 is none of the categories', [header, rows[0].replace('/m/04bcr3', '/m/0')]],
    ["row 2: '../../aa' is no id of an image", [header, rows[0].replace('aa01', '../../aa')]],
    ['row 2 is too long', [header, 'x'.repeat(2 ** 20)]],
    ["row 2: YMax must be a number, got ''", [header, 'aa01,xclick,/m/04bcr3,1,0.25,0.75,0.5']],
  ])('refuses rows: %s', async (message, lines) => {
    await expect(open(lines)).rejects.toThrow(message);
  });

  test('refuses categories without names', async () => {
    await expect(open([header, ...rows], {}, '/m/01s55n')).rejects.toThrow(
      'row 1: expected the id',
    );
    await expect(open([header], {}, names + names)).rejects.toThrow('comes twice');
  });
});
