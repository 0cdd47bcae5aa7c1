// Small pictures beside those that are trained on: in the loader and from configurations.
import { describe, expect, test } from 'vitest';
import {
  DataLoader,
  dataModuleTargets,
  degrade,
  ImageFolder,
  LowResolution,
  parseYaml,
  type ConditionerSpec,
  type DataLoaderOptions,
  type ImageBatch,
  type Tensor,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { memory, pictureBytes, writePicture } from './pictures.js';

const inFolder = temporaryFolder();

interface Seen {
  readonly index: number[];
  readonly shape: readonly number[];
  readonly small: number[];
  readonly image: number[];
}

async function seen(batches: AsyncIterable<ImageBatch>, count: number): Promise<Seen[]> {
  const all: Seen[] = [];
  for await (const { image, condition, index } of batches) {
    const map = condition as Tensor;
    all.push({
      index,
      shape: map.shape,
      small: [...((await map.data()) as Float32Array)],
      image: [...((await image.data()) as Float32Array)],
    });
    for (const each of [image, map]) each.dispose();
    if (all.length === count) break;
  }
  return all;
}

const bytesOf = (values: number[]) => values.map((value) => Math.round((value + 1) * 127.5));

describe('in the loader', () => {
  const options: DataLoaderOptions = {
    batchSize: 3,
    transform: { size: 4 },
    workers: 0,
    condition: new LowResolution({ degradation: 'bsrgan', factor: 2 }),
  };

  test('a batch holds what degrade makes of its pictures', async () => {
    const loader = new DataLoader(memory(7), { ...options, seed: 5 });
    const [batch] = await seen(loader.batches(), 1);
    expect(batch.shape).toEqual([3, 2, 2, 3]);
    for (const [n, index] of batch.index.entries()) {
      const data = pictureBytes(index, { width: 4, height: 4 });
      const picture = { data, width: 4, height: 4, channels: 3 };
      const { image } = await degrade(picture, 'bsrgan', 2, { seed: 5, epoch: 0, index });
      expect(bytesOf(batch.small.slice(n * 12, (n + 1) * 12))).toEqual([...image.data]);
    }
    await loader.dispose();
  });

  test('it is the same with any number of threads, and new in each epoch', async () => {
    const first = async (workers: number, from = 0) => {
      const loader = new DataLoader(memory(3), { ...options, workers, shuffle: false });
      const batches = await seen(loader.batches({ from }), 2);
      await loader.dispose();
      return batches;
    };
    const [one, two] = await first(0);
    expect(await first(2)).toEqual([one, two]);
    expect(two.image).toEqual(one.image);
    expect(two.small).not.toEqual(one.small);
    expect((await first(0, 1))[0]).toEqual(two);
  });

  test('pictures of one channel stay so', async () => {
    const loader = new DataLoader(await grey(), {
      ...options,
      transform: { size: 4, channels: 1 },
      batchSize: 1,
    });
    const [{ shape }] = await seen(loader.batches(), 1);
    expect(shape).toEqual([1, 2, 2, 1]);
    await loader.dispose();
  });

  test('a factor that does not divide the side is refused', async () => {
    const condition = new LowResolution({ factor: 3 });
    const loader = new DataLoader(memory(3), { ...options, condition });
    await expect(seen(loader.batches(), 1)).rejects.toThrow(/4 pixels.*3 times smaller/);
    await loader.dispose();
    expect(() => new LowResolution({ factor: 0 })).toThrow(/from 1 to 64/);
    expect(() => new LowResolution({ degradation: 'blur' as 'bsrgan' })).toThrow(/no 'blur'/);
  });
});

async function grey(): Promise<ImageFolder> {
  await writePicture(inFolder('grey/0.png'), 0, { width: 4, height: 4 });
  return ImageFolder.open(inFolder('grey'));
}

describe('in a configuration', () => {
  const identity: ConditionerSpec = { kind: 'identity' };
  const built = async (target: string, params: string, conditioner?: ConditionerSpec) => {
    const text = `{target: main.DataModuleFromConfig, params: {batch_size: 1, num_workers: 0, train:
      {target: ${target}, params: {data_root: ${inFolder('pictures')}, ${params}}}}}`;
    await writePicture(inFolder('pictures/0.png'), 0, { width: 20, height: 18 });
    const module = dataModuleTargets.read(parseYaml(text, 'data.yaml'), 'data');
    return (await module.build({ seed: 1, conditioner })).train!;
  };

  test.each([
    ['ldm.data.imagenet.ImageNetSRTrain', 'size: 16, degradation: bsrgan_light, downscale_f: 4', 4],
    ['ldm.data.imagenet.ImageNetSRValidation', 'size: 16, degradation: pil_bicubic', 4],
    ['ldm.data.imagenet.ImageNetSRTrain', 'size: 16, degradation: cv_lanczos, downscale_f: 2', 8],
    ['emulsion.data.SuperResolutionFolder', 'size: 12, flip: 0.5, downscale_f: 2', 6],
  ])('%s with %s', async (target, params, side) => {
    const loader = await built(target, params, identity);
    const [{ shape }] = await seen(loader.batches(), 1);
    expect(shape).toEqual([1, side, side, 3]);
    await loader.dispose();
  });

  test('a first stage is not given the small pictures', async () => {
    const params = 'size: 16, degradation: pil_nearest, downscale_f: 4';
    const loader = await built('ldm.data.imagenet.ImageNetSRTrain', params);
    for await (const { image, condition } of loader.batches()) {
      expect(condition).toBeUndefined();
      image.dispose();
      break;
    }
    await loader.dispose();
  });

  test.each([
    ['size: 16, downscale_f: 3', /data\.yaml.*16 pixels cannot be made 3 times smaller/s],
    ['size: 16, degradation: bsrgan_heavy', /degradation must be one of bsrgan, bsrgan_light/],
    ['size: 16, downscale_f: 0', /downscale_f must be a whole number of at least 1/],
    ['size: 128, downscale_f: 128', /factor must be an integer from 1 to 64/],
  ])('%s is refused with its place', async (params, message) => {
    await expect(built('emulsion.data.SuperResolutionFolder', params)).rejects.toThrow(message);
  });
});
