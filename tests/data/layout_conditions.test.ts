// Boxes beside pictures as tokens: of the part that was cut out, mirrored as it was, shuffled by the key.
import { describe, expect, test } from 'vitest';
import {
  HybridConditions,
  LayoutConditions,
  LayoutTokens,
  MaskedPictures,
  tensor,
  type ConditionSource,
  type Dataset,
  type LabelledBox,
  type Tensor,
} from '../../lib/index.js';
import { loaders, take } from './pictures.js';

const load = loaders();

/** White pictures of 32 x 16 pixels with these boxes. */
function annotated(boxes: readonly LabelledBox[] | undefined, length = 4): Dataset {
  const pixels = { data: new Uint8Array(32 * 16 * 3), width: 32, height: 16, channels: 3 as const };
  return { length, item: (index) => ({ path: `picture ${index}`, source: { pixels }, boxes }) };
}

const vocabulary = new LayoutTokens({ categories: 9, maxObjects: 4 });
const boxes: LabelledBox[] = [
  { label: 3, x: 8, y: 0, width: 8, height: 8 },
  { label: 8, x: 0.5, y: 0.5, width: 0.25, height: 0.5, relative: true },
  // outside what is cut from the middle
  { label: 5, x: 0, y: 0, width: 8, height: 16 },
];

async function layouts(
  dataset: Dataset,
  options: { flip?: number; seed?: number } = {},
  count = 1,
) {
  const { flip, seed } = options;
  const loader = load(dataset, {
    batchSize: 4,
    seed,
    shuffle: false,
    transform: { size: 16, flip },
    condition: new LayoutConditions(vocabulary),
  });
  const batches = await take(loader.batches(), count);
  const found = [];
  for (const { condition } of batches) {
    const ids = condition as Tensor;
    expect([ids.dtype, ids.shape]).toEqual(['int64', [4, 14]]);
    const values = Array.from((await ids.data()) as BigInt64Array, Number);
    for (let i = 0; i < 4; ++i) found.push(vocabulary.decode(values.slice(14 * i, 14 * i + 14)));
  }
  return found;
}

const byCategory = (objects: readonly { category: number }[]) =>
  [...objects].sort((a, b) => a.category - b.category);

describe('layout conditions', () => {
  test('say where objects are in the whole picture, and what part of it is seen', async () => {
    const [{ objects, crop }] = await layouts(annotated(boxes));
    expect(byCategory(objects)).toEqual([
      { category: 3, x: 22 / 89, y: 0, width: expect.closeTo(22 / 89), height: 44 / 89 },
      { category: 8, x: 44 / 89, y: 44 / 89, width: expect.closeTo(23 / 89), height: 45 / 89 },
    ]);
    expect(crop).toMatchObject({ x: 22 / 89, y: 0, height: 1 });
  });

  test('mirror both with the picture', async () => {
    const [{ objects, crop }] = await layouts(annotated(boxes), { flip: 1 });
    expect(byCategory(objects)[0].category).toBe(3);
    expect(byCategory(objects)[0]).toMatchObject({ x: 44 / 89 });
    expect(crop).toMatchObject({ x: 22 / 89 });
  });

  test('come in an order that the key decides', async () => {
    const orders = async (seed: number) => {
      const found = await layouts(annotated(boxes), { seed }, 2);
      return found.map(({ objects }) => objects.map(({ category }) => category).join());
    };
    const first = await orders(1);
    expect(new Set(first)).toEqual(new Set(['3,8', '8,3']));
    // an epoch of four pictures, and the next one
    expect(first.slice(0, 4)).not.toEqual(first.slice(4));
    expect(await orders(1)).toEqual(first);
    expect(await orders(2)).not.toEqual(first);
  });

  test('are refused boxes of a picture of another size', async () => {
    const larger = annotated([{ label: 3, x: 30, y: 0, width: 4, height: 4 }]);
    await expect(layouts(larger)).rejects.toThrow(
      /picture 0: a box reaches beyond the picture's 32 x 16 pixels/,
    );
    // rounded outwards
    await layouts(annotated([{ label: 3, x: 16, y: 0, width: 17, height: 16 }]));
  });

  test('need boxes with numbers', async () => {
    await expect(layouts(annotated(undefined))).rejects.toThrow('picture 0 has no boxes');
    const named = annotated([{ ...boxes[0], label: 'cat' }]);
    await expect(layouts(named)).rejects.toThrow("must be category numbers. Got 'cat'");
  });
});

describe('hybrid conditions', () => {
  const numbers: ConditionSource<number> = {
    sample: ({ index }) => index,
    batch: (samples) => tensor([...samples]),
  };

  test('are a map and tokens, each by its own source', async () => {
    const condition = new HybridConditions(numbers, new LayoutConditions(vocabulary));
    const [batch] = await take(
      load(annotated(boxes), {
        batchSize: 4,
        shuffle: false,
        transform: { size: 16 },
        condition,
      }).epoch(),
      1,
    );
    const { concat, crossattn } = batch.condition as Record<string, Tensor>;
    expect([...(await concat.data())]).toEqual([0, 1, 2, 3]);
    expect(crossattn.shape).toEqual([4, 14]);
  });

  test('are a masked picture and tokens', async () => {
    const condition = new HybridConditions(new MaskedPictures(), numbers);
    const loader = load(annotated(boxes), { batchSize: 4, transform: { size: 16 }, condition });
    const [batch] = await take(loader.epoch(), 1);
    const { concat, crossattn } = batch.condition as Record<string, Tensor>;
    const { image, mask } = concat as unknown as Record<string, Tensor>;
    expect([image.shape, mask.shape]).toEqual([
      [4, 16, 16, 3],
      [4, 16, 16, 1],
    ]);
    expect(crossattn.shape).toEqual([4]);
  });

  test('take one tensor of tokens', async () => {
    const several = { ...numbers, batch: () => ({ image: tensor([1]), mask: tensor([1]) }) };
    const condition = new HybridConditions(numbers, several);
    const loader = load(annotated(boxes), { batchSize: 4, transform: { size: 16 }, condition });
    await expect(take(loader.epoch(), 1)).rejects.toThrow('one tensor. Got image and mask');
  });

  test('leave beside a model what both parts need', async () => {
    const saved: string[] = [];
    const saving = (name: string) => ({
      ...numbers,
      save: (folder: string) => Promise.resolve(void saved.push(`${folder}/${name}`)),
    });
    await new HybridConditions(saving('map'), saving('tokens')).save('model');
    await new HybridConditions(numbers, numbers).save('model');
    expect(saved).toEqual(['model/map', 'model/tokens']);
  });
});
