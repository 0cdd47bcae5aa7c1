// What a device may change of a score: nothing of what is computed from features or pixels, last places of features.
import { describe, expect, test } from 'vitest';
import {
  compareFolders,
  defaultDevice,
  extractSet,
  FeatureStatistics,
  frechetDistance,
  inceptionScore,
  kernelDistance,
  nearestNeighbours,
  neighbourScores,
  noise,
  openPictureSet,
  PictureExtractor,
  setDefaultDevice,
  tidy,
  type Device,
  type Tensor,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { availableDevices } from '../support/devices.js';
import { drawingFolder, range } from './drawings.js';

const inFolder = temporaryFolder();
const random = (shape: number[], seed: number): Tensor => noise(shape, { seed, device: 'cpu' });
const features = { samples: random([90, 7], 1).mul(1.3), reference: random([70, 7], 2).add(0.2) };
const logits = random([90, 5], 3);

/** Every score of features, from tensors on this device. */
async function scores(device: Device) {
  const [x, y] = [features.samples.to(device), features.reference.to(device)];
  const moments = async (set: Tensor) => {
    const statistics = new FeatureStatistics();
    await statistics.update(set);
    return statistics.moments();
  };
  return {
    fid: await frechetDistance(await moments(x), await moments(y)),
    kid: await kernelDistance(y, x, { subsets: 3, subsetSize: 40 }),
    neighbours: await neighbourScores(y, x),
    nearest: await nearestNeighbours(x, y),
    inception: await inceptionScore(logits.to(device), { shuffleSeed: 1 }),
  };
}

/** Runs with another default device. */
async function on<T>(device: Device, body: () => Promise<T>): Promise<T> {
  const before = defaultDevice();
  setDefaultDevice(device);
  try {
    return await body();
  } finally {
    setDefaultDevice(before);
  }
}

const cpu = features.samples.device;

describe.each(availableDevices.map((device) => [device.name, device] as const))(
  'on %s',
  (_, device) => {
    test('scores of features are the same to the bit', async () => {
      expect(await scores(device)).toEqual(await scores(cpu));
    });

    test('PSNR and SSIM of folders are the same to the bit', async () => {
      const [a, b] = [inFolder(`a-${device.name}`), inFolder(`b-${device.name}`)];
      await drawingFolder(a, range(0, 3));
      await drawingFolder(b, range(4, 7), (number) => `${number - 4}.png`);
      const compared = () => compareFolders(a, b);
      expect(await on(device, compared)).toEqual(await on(cpu, compared));
    });

    test('features differ in last places', async () => {
      const folder = await drawingFolder(inFolder(`c-${device.name}`), range(0, 2));
      const extracted = () =>
        tidy(async () => {
          const extractor = await PictureExtractor.open({ name: 'emoji', batch: 2 });
          const { features, hash } = await extractSet(await openPictureSet(folder), extractor);
          const values = [...((await features.data()) as Float32Array)];
          extractor.dispose();
          return { values, hash };
        });
      const [found, expected] = [await on(device, extracted), await on(cpu, extracted)];
      expect(found.hash).toBe(expected.hash);
      const largest = Math.max(...expected.values.map(Math.abs));
      found.values.forEach((value, i) => {
        expect(Math.abs(value - expected.values[i])).toBeLessThan(1e-5 * largest);
      });
    });
  },
);
