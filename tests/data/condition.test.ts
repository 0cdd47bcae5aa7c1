// Conditions beside pictures: what their source is told, and where what it makes goes.
import { describe, expect, test } from 'vitest';
import { transformPixels, type Region, type TransformOptions } from '../../lib/data/transform.js';
import {
  FileError,
  tensor,
  type Condition,
  type ConditionSource,
  type PreparedPicture,
  type Tensor,
} from '../../lib/index.js';
import { loaders, memory, take } from './pictures.js';

const load = loaders();

/** Notes what it is told, and gives a picture's number times ten. */
function noting(): ConditionSource<number> & { told: PreparedPicture[] } {
  const told: PreparedPicture[] = [];
  return {
    told,
    sample: (picture) => (told.push(picture), picture.index * 10),
    batch: (samples, device) => tensor([...samples], { device }),
  };
}

describe('conditions', () => {
  test('stand in the order of their pictures', async () => {
    const loader = load(memory(5), { batchSize: 2, condition: noting() });
    for (const { index, condition } of await take(loader.batches(), 4))
      expect([...(await (condition as Tensor).data())]).toEqual(index.map((each) => each * 10));
  });

  test('may be several, by name', async () => {
    const condition: ConditionSource<number> = {
      sample: ({ index }) => index,
      batch: (samples) => ({ map: tensor([...samples]), mask: tensor([1]) }) as Condition,
    };
    const [batch] = await take(load(memory(4), { batchSize: 4, condition }).batches(), 1);
    expect(Object.keys(batch.condition as object)).toEqual(['map', 'mask']);
  });

  test('are told the picture that the batch holds, whose key changes with the epoch', async () => {
    const condition = noting();
    const loader = load(memory(2), { batchSize: 2, condition, seed: 7, prefetch: 0 });
    await take(loader.batches(), 2);
    expect(condition.told.map(({ key }) => key)).toEqual([
      ...Array(2).fill({ seed: 7, epoch: 0 }),
      ...Array(2).fill({ seed: 7, epoch: 1 }),
    ]);
    const [{ image, size, channels, item, index }] = condition.told;
    expect(image.length).toBe(size * size * channels);
    expect(item).toEqual(memory(2).item(index));
  });

  test('are absent without a source', async () => {
    const [batch] = await take(load(memory(2), { batchSize: 2 }).batches(), 1);
    expect('condition' in batch).toBe(false);
  });

  test('that cannot be read make their picture a damaged one', async () => {
    const condition: ConditionSource<number> = {
      sample({ index, item }) {
        if (index === 1) throw new FileError('is no map.', item.path);
        return index;
      },
      batch: (samples) => tensor([...samples]),
    };
    const options = { batchSize: 3, condition, maxDamaged: 0.5, warn: () => {} };
    await expect(take(load(memory(3), options).batches(), 1)).rejects.toThrow(/is no map/);
    const [batch] = await take(load(memory(3), { ...options, onDamaged: 'skip' }).batches(), 1);
    expect(batch.index).not.toContain(1);
  });
});

describe('the region of a square', () => {
  const picture = (width: number, height: number) => ({
    data: new Uint8Array(width * height),
    width,
    height,
    channels: 1 as const,
  });
  const region = (options: TransformOptions, flip = 0.999): Region =>
    transformPixels(picture(10, 6), options, [0.5, 0.5, 1, flip], 'a.png').region;
  const source = { sourceWidth: 10, sourceHeight: 6 };

  test('is in pixels of the source, whatever it was resized to', () => {
    const whole = { x: 2, y: 0, width: 6, height: 6, ...source, mirrored: false };
    expect(region({ size: 6 })).toEqual(whole);
    expect(region({ size: 12 })).toEqual(whole);
    expect(region({ size: 3 })).toEqual(whole);
    expect(region({ size: 3, smallestSide: null })).toEqual({
      ...{ x: 3, y: 1, width: 3, height: 3 },
      ...source,
      mirrored: false,
    });
    expect(region({ size: 6, smallestSide: 12, randomCrop: true })).toMatchObject({
      ...{ x: 7, y: 1.5, width: 3, height: 3 },
    });
  });

  test('ends where the picture does, though its other side is rounded in resizing', () => {
    // 131 x 100 becomes 79 x 60: a little wider than 0.6 would make it
    const { region: right } = transformPixels(
      picture(131, 100),
      { size: 60, randomCrop: true },
      [0, 0, 1 - 2 ** -24, 1],
      'a.png',
    );
    expect(right.x + right.width).toBeLessThanOrEqual(131);
    const { region: whole } = transformPixels(picture(109, 108), { size: 54 }, [0, 0, 0, 1], '');
    expect(whole.x + whole.width).toBeCloseTo(109, 9);
  });

  test('of a cut before resizing is the cut', () => {
    const cut: TransformOptions = { size: 12, cropFraction: [0.5, 0.5], randomCrop: true };
    expect(region(cut)).toMatchObject({ x: 7, y: 1, width: 3, height: 3 });
  });

  test('tells whether the square was mirrored', () => {
    expect(region({ size: 6, flip: 0.5 }, 0.2).mirrored).toBe(true);
    expect(region({ size: 6, flip: 0.5 }, 0.7).mirrored).toBe(false);
  });
});
