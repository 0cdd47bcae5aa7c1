// Inception-v3 in its FID form: against the same network in PyTorch, weights and picture by formula.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  DTypeError,
  InceptionV3,
  loadInception,
  maxPool2d,
  noise,
  readSafetensors,
  resizeAsTensorFlow,
  tensor,
  writeSafetensors,
  zeros,
  type SafetensorsFile,
  type StateReader,
  type Tensor,
} from '../../lib/index.js';
import { averageInside } from '../../lib/metrics/inception_blocks.js';
import { golden, temporaryFolder } from '../io/temporary.js';
import { hashed, parameterValues } from '../parity/formula.js';

const inFolder = temporaryFolder();

// Unit gain behind a ReLU, and variances around 1.
function valuesOf(name: string, shape: readonly number[]): Float32Array {
  if (name.endsWith('running_var'))
    return Float32Array.from(hashed(name, shape[0]), (u) => 1 + 0.5 * u);
  if (shape.length === 1) return parameterValues(name, shape);
  const count = shape.reduce((a, b) => a * b, 1);
  const scale = Math.sqrt((3 * shape[0]) / count) * Math.SQRT2;
  return Float32Array.from(hashed(name, count), (u) => u * scale);
}

const formula = (shapes: Readonly<Record<string, readonly number[]>>): StateReader => ({
  origin: 'formula',
  keys: Object.keys(shapes),
  has: (key) => Object.hasOwn(shapes, key),
  info: (key) => ({ shape: shapes[key], dtype: 'float32' }),
  get: (key) => Promise.resolve(tensor(valuesOf(key, shapes[key]), { shape: shapes[key] })),
});

const bytes = Uint8Array.from(hashed('in.pictures', 41 * 50 * 3), (u) => Math.floor((u + 1) * 128));
const picture = (): Tensor => tensor(bytes, { shape: [1, 41, 50, 3] });

function relativeError(actual: Tensor, expected: Tensor): number {
  const [x, y] = [actual, expected].map((each) => each.reshape([-1]).to('float64').dataSync());
  let [difference, length] = [0, 0];
  for (let i = 0; i < y.length; i++) {
    difference += (Number(x[i]) - Number(y[i])) ** 2;
    length += Number(y[i]) ** 2;
  }
  return Math.sqrt(difference / length);
}

describe('with weights by formula', () => {
  let reference: SafetensorsFile;
  let network: InceptionV3;
  let shapes: Record<string, number[]>;

  beforeAll(async () => {
    reference = await readSafetensors(golden('inception/network.safetensors'));
    shapes = JSON.parse(reference.metadata.get('shapes')!) as Record<string, number[]>;
    network = new InceptionV3();
  });
  afterAll(() => network.dispose());

  test('keys, their order and shapes are the published ones', () => {
    const own = [...network.exportState()].filter(([key]) => !key.endsWith('num_batches_tracked'));
    expect(own.map(([key, { shape }]) => [key, shape])).toEqual(Object.entries(shapes));
    expect(own.length).toBe(472);
    const trained = own.filter(([key]) => !key.includes('running_'));
    const count = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
    expect(trained.reduce((sum, [, { shape }]) => sum + count(shape), 0)).toBe(23_850_960);
  });

  test('features and logits are those of PyTorch', async () => {
    await network.importState(formula(shapes), { strict: false }); // but for the counts of batches
    for (const [dtype, limit] of [
      ['float32', 2e-5],
      ['float64', 1e-6],
    ] as const) {
      network.to(dtype);
      const outputs = network.forward(picture());
      for (const name of [64, 192, 768, 2048, 'logits'] as const) {
        const expected = await reference.get(`out.${name}`);
        expect(outputs[name].shape).toEqual(expected.shape);
        expect(relativeError(outputs[name], expected), `${name}, ${dtype}`).toBeLessThan(limit);
      }
    }
    const row = resizeAsTensorFlow(picture().to('float64'), 299).narrow(1, 150, 1);
    expect(relativeError(row, await reference.get('out.resized_row'))).toBeLessThan(1e-7);
  });

  test('other pictures than 8-bit RGB are refused', () => {
    expect(() => network.forward(zeros([1, 9, 9, 3]))).toThrow(DTypeError);
    expect(() => network.forward(zeros([1, 9, 9, 1], { dtype: 'uint8' }))).toThrow(
      /\[N, H, W, 3\]/,
    );
  });
});

describe("TensorFlow's ways", () => {
  test('means at the border count what lies inside', () => {
    const x = tensor([1, 2, 4, 8, 16, 32], { shape: [1, 2, 3, 1], dtype: 'float64' });
    const expected = [27 / 4, 63 / 6, 54 / 4]; // of columns 1 and 2, all three, 2 and 3
    const values = [...(averageInside(x).dataSync() as Float64Array)];
    [...expected, ...expected].forEach((value, i) => expect(values[i]).toBeCloseTo(value, 12));
    const one = tensor([5], { shape: [1, 1, 1, 1], dtype: 'float64' });
    expect(averageInside(one).itemSync()).toBeCloseTo(5, 12);
    expect(maxPool2d(one.neg(), { kernel: 3, stride: 1, padding: 1 }).itemSync()).toBe(-5);
  });

  test('a picture resized keeps its first pixel where it is', () => {
    const x = tensor([0, 10, 20, 30], { shape: [1, 1, 4, 1], dtype: 'float64' });
    const wide = [...(resizeAsTensorFlow(x, 8).narrow(1, 0, 1).dataSync() as Float64Array)];
    expect(wide).toEqual([0, 5, 10, 15, 20, 25, 30, 30]);
    const narrow = [...(resizeAsTensorFlow(x, 2).narrow(1, 0, 1).dataSync() as Float64Array)];
    expect(narrow).toEqual([0, 20]);
    const same = noise([2, 5, 5, 3], { seed: 1 });
    expect(resizeAsTensorFlow(same, 5).dataSync()).toEqual(same.dataSync());
  });
});

describe('loadInception', () => {
  test('reads a file without counts of batches', async () => {
    const network = new InceptionV3();
    const state = [...network.exportState()].filter(([key]) => !key.endsWith('batches_tracked'));
    await writeSafetensors(inFolder('inception.safetensors'), new Map(state));
    const loaded = await loadInception(inFolder('inception.safetensors'));
    expect(loaded.fc.weight.dataSync()).toEqual(network.fc.weight.dataSync());
    expect(loaded.Mixed_7c.branch_pool.bn.running_var.dataSync()).toEqual(
      network.Mixed_7c.branch_pool.bn.running_var.dataSync(),
    );
    network.dispose();
    loaded.dispose();
  });

  test('says which file is needed, and what another one lacks', async () => {
    await expect(loadInception(inFolder('none.pth'))).rejects.toThrow(
      /does not exist.*pt_inception-2015-12-05-6726825d\.pth.*https/,
    );
    const other = new Map([['fc.weight', zeros([1000, 2048])]]);
    await writeSafetensors(inFolder('other.safetensors'), other);
    await expect(loadInception(inFolder('other.safetensors'))).rejects.toThrow(
      /not the network of FID: Conv2d_1a_3x3\.conv\.weight is missing.*more.*pt_inception/,
    );
  });
});
