// Data sets of boxes as targets: what those of the original become, and whether a model can take their tokens.
import { mkdirSync, writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { datasetTargets } from '../../lib/config/index.js';
import { parseYaml } from '../../lib/config/yaml.js';
import type { AnnotatedImages } from '../../lib/index.js';
import { ConfigError, LayoutConditions, type ConditionerSpec } from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';

const file = temporaryFolder();
const read = (target: string, params: string) =>
  datasetTargets.read(parseYaml(`{target: ${target}, params: {${params}}}`, 'a.yaml'), 'train')
    .spec;

const bert = { kind: 'bert', nEmbed: 8, nLayer: 1, vocabSize: 8192, useTokenizer: false } as const;
const embedder = (maxSeqLen = 92): ConditionerSpec => ({ ...bert, maxSeqLen });

beforeAll(() => {
  mkdirSync(file('annotations'));
  const images = [{ id: 1, file_name: 'a.jpg', width: 10, height: 10 }];
  const categories = (...names: string[]) =>
    names.map((name, i) => ({ id: name.length + i, name }));
  const annotations = (category_id: number) => [
    { image_id: 1, category_id, bbox: [1, 1, 5, 5], iscrowd: 0 },
    { image_id: 1, category_id, bbox: [0, 0, 9, 9], iscrowd: 1 },
  ];
  const save = (name: string, content: object) =>
    writeFileSync(file(`annotations/${name}`), JSON.stringify(content));
  for (const split of ['train', 'val']) {
    save(`instances_${split}2017.json`, {
      images,
      categories: categories('cat'),
      annotations: annotations(3),
    });
    save(`stuff_${split}2017.json`, {
      images,
      categories: categories('grass', 'other'),
      annotations: annotations(6),
    });
  }
  const row = (id: string, box: string) => `${id},x,/m/a,1,${box},0,0,0,0,0`;
  const header =
    'ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside';
  const rows = [header, row('01', '0,1,0,1'), row('01', '0,0.5,0,0.5'), row('02', '0,1,0,1')].join(
    '\n',
  );
  for (const name of ['oidv6-train', 'validation'])
    writeFileSync(file(`${name}-annotations-bbox.csv`), rows);
  writeFileSync(file('class-descriptions-boxable.csv'), '/m/a,Apple\n/m/b,Bear\n');
});

describe("the original's", () => {
  test("COCO is its folder, things and stuff but 'other'", async () => {
    const spec = read(
      'taming.data.annotated_objects_coco.AnnotatedObjectsCoco',
      `data_path: ${file('.')}, split: validation, target_image_size: 256, crop_method: center, keys: [image]`,
    );
    expect(spec.transform).toEqual({
      size: 256,
      filter: 'bilinear',
      orient: false,
      randomCrop: false,
      flip: 0,
    });
    const images = (await spec.open('')) as AnnotatedImages;
    expect(images.categories.map(({ name }) => name)).toEqual(['cat', 'grass']);
    expect(images.item(0).path).toBe(file('val2017/a.jpg'));
    expect(images.item(0).boxes).toHaveLength(2);
    expect(await spec.condition!(embedder())).toBeInstanceOf(LayoutConditions);
  });

  test('OpenImages is cut and mirrored in training, and its pictures have two objects at least', async () => {
    const training = read(
      'ldm.data.openimages.OpenImagesBBoxTrain',
      `size: 256, data_root: ${file('.')}`,
    );
    expect(training.transform).toMatchObject({ minCropSide: 256, randomCrop: true, flip: 0.5 });
    const images = await training.open('');
    expect([images.length, images.item(0).path]).toEqual([1, file('train/01.jpg')]);
    const validation = read('ldm.data.openimages.OpenImagesBBoxValidation', 'size: 256');
    expect(validation.transform).toMatchObject({ randomCrop: false, flip: 0 });
    await expect(validation.open('')).rejects.toThrow('data_root');
    const scenes = read(
      'taming.data.annotated_objects_open_images.AnnotatedObjectsOpenImages',
      `data_path: ${file('.')}, split: train, target_image_size: 64, merge: {/m/b: /m/a}`,
    );
    expect(((await scenes.open('')) as AnnotatedImages).categories).toHaveLength(1);
  });

  test('lists in Python are not taken', () => {
    const target = 'taming.data.annotated_objects_open_images.AnnotatedObjectsOpenImages';
    const list = 'split: train, target_image_size: 64, category_mapping_target: some.list';
    expect(() => read(target, list)).toThrow('give the categories with only and merge');
  });
});

describe('boxes', () => {
  const own = (params = '') =>
    read(
      'emulsion.data.CocoObjects',
      `data_root: photos, annotations: [${file('annotations/instances_train2017.json')}], size: 64${params}`,
    );

  test('are for an embedder that takes as many tokens', async () => {
    await expect(own().condition!(embedder(77))).rejects.toThrow(
      "the layouts have 92 tokens of 8192, and the model's embedder takes 77 of 8192",
    );
    await own(', max_objects_per_image: 25').condition!(embedder(77));
    await expect(own(', no_tokens: 9000').condition!(embedder())).rejects.toThrow('of 9000');
    const captions = { kind: 'bert', nEmbed: 8, nLayer: 1 } as const;
    await expect(own().condition!(captions)).rejects.toThrow('of kind bert for captions');
  });

  test('are told where their parameters are wrong', () => {
    expect(() => own(', min_object_area: 2')).toThrow(ConfigError);
    expect(() => own(', crowds: none')).toThrow('crowds must be one of plain, group, skip');
    expect(() => own(', min_crop_side: 32, smallest_side: 80')).toThrow(
      'smallestSide or minCropSide',
    );
  });
});
