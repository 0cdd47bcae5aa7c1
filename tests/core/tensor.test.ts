import { describe, expect, test } from 'vitest';
import {
  arange,
  ArgumentError,
  clamp,
  defaultDevice,
  device,
  DeviceError,
  DisposedError,
  empty,
  eye,
  full,
  linspace,
  maximum,
  minimum,
  noise,
  ones,
  randn,
  ShapeError,
  tensor,
  tidy,
  zeros,
  type DType,
} from '../../lib/index.js';

describe('creation', () => {
  test('nested arrays give shape and float32', () => {
    const x = tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect(x.shape).toEqual([2, 3]);
    expect(x.dtype).toBe('float32');
    expect([...x.dataSync()]).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('a scalar has no dimensions', () => {
    expect(tensor(7).shape).toEqual([]);
    expect(tensor(7).itemSync()).toBe(7);
  });

  test.each<[DType, unknown[]]>([
    ['float64', [0.1, -2]],
    ['bfloat16', [1.5, -2]],
    ['float16', [0.5, 65504]],
    ['int32', [-3, 7]],
    ['int64', [-3n, 7n]],
    ['uint8', [3, 255]],
    ['bool', [1, 0]],
  ])('%s round trip', (dtype, values) => {
    const x = tensor(values.map(Number), { dtype });
    expect(x.dtype).toBe(dtype);
    expect([...x.dataSync()]).toEqual(values);
  });

  test('typed arrays keep their dtype and are copied', () => {
    const source = Int32Array.of(1, 2);
    const x = tensor(source);
    source[0] = 9;
    expect(x.dtype).toBe('int32');
    expect([...x.dataSync()]).toEqual([1, 2]);
  });

  test('limits on one side keep digits beyond 2^53', () => {
    const x = tensor(BigInt64Array.of(2n ** 60n, -(2n ** 60n), 7n));
    expect([...clamp(x, 0).dataSync()]).toEqual([2n ** 60n, 0n, 7n]);
    expect([...minimum(x, 5).dataSync()]).toEqual([5n, -(2n ** 60n), 5n]);
    expect([...maximum(x, -5).dataSync()]).toEqual([2n ** 60n, -5n, 7n]);
    const bytes = tensor(Uint8Array.of(0, 255));
    expect([...clamp(bytes, 9).dataSync()]).toEqual([9, 255]);
    expect(() => clamp(x, 0.5)).toThrow('clamp: 0.5 is no int64');
    expect(() => maximum(x, Infinity)).toThrow('clamp: Infinity is no int64');
    expect([...maximum(tensor([1, 2]), Infinity).dataSync()]).toEqual([Infinity, Infinity]);
  });

  test("a shape is the tensor's own", () => {
    const shape = [1, 3];
    const made = [
      empty(shape),
      zeros(shape),
      ones(shape),
      full(shape, 2),
      randn(shape),
      noise(shape, { seed: 1 }),
      tensor(Float32Array.of(1, 2, 3), { shape }),
    ];
    shape.reverse();
    for (const x of made) expect(x.shape).toEqual([1, 3]);
  });

  test('a shape that is no array is refused by name', () => {
    const wrong = 2 as unknown as number[];
    expect(() => zeros(wrong)).toThrow(
      'zeros: the shape must be an array such as [2, 3], got number 2',
    );
    expect(() => randn(wrong)).toThrow(ArgumentError);
    expect(() => tensor(Float32Array.of(1), { shape: wrong })).toThrow(/^tensor: the shape/);
  });

  test('int64 keeps digits beyond 2^53', () => {
    const x = tensor(BigInt64Array.of(9007199254740993n));
    expect(x.dataSync()[0]).toBe(9007199254740993n);
  });

  test('empty tensors', () => {
    expect(zeros([0, 3]).dataSync()).toHaveLength(0);
    expect(tensor([]).shape).toEqual([0]);
  });

  test('arange, linspace, eye, full', () => {
    expect([...arange(4).dataSync()]).toEqual([0, 1, 2, 3]);
    expect([...arange(5, 0, -2).dataSync()]).toEqual([5, 3, 1]);
    expect([...linspace(0, 1, 5).dataSync()]).toEqual([0, 0.25, 0.5, 0.75, 1]);
    expect([...eye(2).dataSync()]).toEqual([1, 0, 0, 1]);
    expect([...full([2], 0.5).dataSync()]).toEqual([0.5, 0.5]);
    expect(() => arange(0, 5, -1)).toThrow(/no way from 0 to 5/);
  });

  test('mistakes are named', () => {
    expect(() => tensor([1, 2, 3], { shape: [2, 2] })).toThrow(/needs 4 values, got 3/);
    expect(() => tensor([[1, 2], [3]])).toThrow(ShapeError);
    expect(() => tensor([1], { dtype: 'float8' as DType })).toThrow(
      /unknown dtype 'float8'; one of/,
    );
    expect(() => zeros([2], { device: 'cuda:7' })).toThrow(DeviceError);
    expect(() => zeros([-1])).toThrow(/negative/);
    expect(() => zeros([2 ** 40, 2 ** 40])).toThrow(/too many elements/);
    expect(() => zeros([1, 1, 1, 1, 1, 1, 1, 1, 1])).toThrow(/at most 8 dimensions/);
  });
});

describe('lifetime', () => {
  test('a disposed tensor says so', async () => {
    const x = zeros([2, 3]);
    x.dispose();
    x.dispose();
    expect(x.toString()).toBe('Tensor(float32, [2, 3]) (disposed)');
    expect(() => x.dataSync()).toThrow(DisposedError);
    await expect(x.data()).rejects.toThrow(/used after it was disposed.*keep\(\)/s);
  });

  test('views share memory and outlive their source', () => {
    const x = tensor([1, 2, 3, 4]);
    const y = x.reshape([2, -1]);
    x.dispose();
    expect(y.shape).toEqual([2, 2]);
    expect([...y.dataSync()]).toEqual([1, 2, 3, 4]);
    expect(() => y.reshape([3, 2])).toThrow(/4 elements, which do not fill \[3, 2\]/);
  });

  test('freed memory is reused in queue order and statistics tell', () => {
    const stats = () => defaultDevice().memoryStats();
    tidy(() => zeros([1000]));
    const { liveBytes, allocations } = stats();
    tidy(() => {
      const x = zeros([1000]);
      expect(stats().liveBytes).toBe(liveBytes + 4096);
      return x.shape;
    });
    expect(stats().liveBytes).toBe(liveBytes);
    expect(stats().allocations).toBe(allocations + 1);
    const cached = stats().cachedBytes;
    expect(cached).toBeGreaterThan(0);
    defaultDevice().emptyCache();
    expect(stats().cachedBytes).toBe(0);
  });

  test('a request beyond all memory fails with a remedy and changes nothing', () => {
    const { liveBytes } = defaultDevice().memoryStats();
    expect(() => empty([2 ** 46])).toThrow(/out of memory.*dispose tensors/s);
    expect(defaultDevice().memoryStats().liveBytes).toBe(liveBytes);
  });

  test('reading resolves in the background', async () => {
    const x = full([3], 2);
    const read = x.data();
    x.dispose(); // the read was enqueued before
    expect([...(await read)]).toEqual([2, 2, 2]);
    await device('cpu').synchronize();
  });

  test('uploads behind pending work do not overtake it', async () => {
    // The block of `first` is reused at once by `second`, while the read of `first` is still pending.
    const reads: Promise<unknown>[] = [];
    for (let i = 0; i < 200; ++i) {
      const x = tensor(Float32Array.of(i, i, i, i));
      reads.push(x.data().then((values) => expect([...values]).toEqual([i, i, i, i])));
      x.dispose();
    }
    await Promise.all(reads);
  });
});
