import { describe, expect, test } from 'vitest';
import {
  add,
  attention,
  autocast,
  autocastDType,
  cast,
  checkpoint,
  concat,
  conv2d,
  crossEntropy,
  cumsum,
  defaultDevice,
  div,
  DTypeError,
  Ema,
  eq,
  exp,
  gelu,
  groupNorm,
  indexAdd,
  keep,
  layerNorm,
  linear,
  log,
  logSoftmax,
  matmul,
  mean,
  mseLoss,
  noGrad,
  norm,
  ones,
  pow,
  randn,
  scatterAdd,
  SGD,
  silu,
  softmax,
  square,
  sum,
  tensor,
  tidy,
  variance,
  VectorQuantizer,
  where,
  zeros,
  zeros_,
  type DType,
  type Tensor,
} from '../../lib/index.js';
import { collectGarbage } from '../support/collect_garbage.js';

const numbers = (x: Tensor): number[] => Array.from(x.dataSync(), Number);
const leaf = (shape: number[]): Tensor => {
  const x = randn(shape);
  x.requiresGrad = true;
  return x;
};
const low = (shape: number[], dtype: DType = 'bfloat16'): Tensor => cast(randn(shape), dtype);

describe('what runs in which dtype', () => {
  const matrixWork: Record<string, () => Tensor> = {
    linear: () =>
      linear(randn([2, 3]), randn([4, 3]), randn([4]), { residual: low([2, 4], 'float16') }),
    matmul: () => matmul(randn([2, 3]), randn([3, 4])),
    'matmul with a vector': () => matmul(randn([3]), randn([3, 4])),
    conv2d: () =>
      conv2d(randn([1, 4, 4, 2]), randn([3, 3, 3, 2]), randn([3]), {
        channelAdd: randn([1, 3]),
        residual: low([1, 2, 2, 3]),
        activation: 'silu',
      }),
    attention: () => attention(randn([1, 3, 1, 4]), low([1, 2, 1, 4]), randn([1, 2, 1, 4])),
  };
  for (const [name, run] of Object.entries(matrixWork))
    test(`${name} in the low dtype`, () =>
      tidy(() => {
        expect(autocast('bfloat16', run).dtype).toBe('bfloat16');
        expect(autocast('float16', run).dtype).toBe('float16');
      }));

  const target = () => tensor([0, 1], { dtype: 'int64' });
  const inFloat32: Record<string, (x: Tensor) => Tensor> = {
    softmax: (x) => softmax(x),
    logSoftmax: (x) => logSoftmax(x),
    crossEntropy: (x) => crossEntropy(x, target()),
    mseLoss: (x) => mseLoss(x, x),
    exp,
    log,
    square,
    'pow of a number': (x) => pow(x, 3),
    'pow of a tensor': (x) => pow(x, x),
    'a number to the power': (x) => pow(2, x),
    'a number over x': (x) => div(1, x),
    sum: (x) => sum(x),
    mean: (x) => x.mean(0),
    variance: (x) => variance(x),
    norm: (x) => norm(x),
    cumsum: (x) => cumsum(x, 0),
  };
  for (const [name, run] of Object.entries(inFloat32))
    test(`${name} in float32, of what the operand holds`, () =>
      tidy(() => {
        const x = low([2, 3]).abs();
        const y = autocast('bfloat16', () => run(x));
        expect(y.dtype).toBe('float32');
        expect(numbers(y)).toEqual(numbers(run(cast(x, 'float32'))));
      }));

  test('operands that must agree take the widest dtype', () =>
    tidy(() => {
      const [narrow, wide, half] = [low([2]), randn([2]), low([2], 'float16')];
      const index = tensor([1, 0], { dtype: 'int64' });
      autocast('bfloat16', () => {
        expect(add(narrow, wide).dtype).toBe('float32');
        expect(add(wide, narrow).dtype).toBe('float32');
        expect(add(narrow, half).dtype).toBe('float32');
        expect(narrow.maximum(wide).dtype).toBe('float32');
        expect(concat([narrow, wide]).dtype).toBe('float32');
        expect(where(tensor([1, 0], { dtype: 'bool' }), narrow, wide).dtype).toBe('float32');
        expect(scatterAdd(wide, 0, index, narrow).dtype).toBe('float32');
        expect(indexAdd(narrow, 0, index, wide).dtype).toBe('float32');
        expect(add(narrow, cast(wide, 'float64')).dtype).toBe('float64');
        expect(numbers(eq(narrow, cast(narrow, 'float32')))).toEqual([1, 1]);
        // Equal dtypes stay, and numbers take the tensor's.
        expect(add(narrow, narrow).dtype).toBe('bfloat16');
        expect(add(narrow, 1).dtype).toBe('bfloat16');
        expect(() => add(wide, index)).toThrow(DTypeError);
      });
      expect(() => add(narrow, wide)).toThrow(DTypeError);
    }));

  test('a float32 residual keeps its digits: it is added after the product', () =>
    tidy(() =>
      autocast('bfloat16', () => {
        const [x, weight, residual] = [randn([2, 3]), randn([4, 3]), leaf([2, 4])];
        const y = linear(x, weight, null, { residual, activation: 'silu' });
        expect(y.dtype).toBe('float32');
        expect(numbers(y)).toEqual(
          numbers(add(linear(x, weight, null, { activation: 'silu' }), residual)),
        );
        const [image, kernel] = [randn([1, 2, 2, 3]), randn([4, 1, 1, 3])];
        const wide = randn([1, 2, 2, 4]);
        expect(numbers(conv2d(image, kernel, null, { residual: wide }))).toEqual(
          numbers(add(conv2d(image, kernel), wide)),
        );
        expect(() => linear(x, weight, null, { residual: randn([4]) })).toThrow(
          "linear: residual must have the result's shape [2, 4], got [4]",
        );
        expect(() => conv2d(image, kernel, null, { residual: randn([1, 2, 2, 1]) })).toThrow(
          "conv2d: residual must have the result's shape",
        );
      }),
    ));

  test('the nearest code is sought in float32', () =>
    tidy(() => {
      const quantizer = new VectorQuantizer(512, 4);
      const z = randn([1, 8, 8, 4]);
      expect(numbers(autocast('bfloat16', () => quantizer.nearest(z)))).toEqual(
        numbers(quantizer.nearest(z)),
      );
    }));

  test('norms and activations keep the dtype of x', () =>
    tidy(() =>
      autocast('bfloat16', () => {
        for (const dtype of ['bfloat16', 'float32'] as const) {
          const x = low([2, 4, 8], dtype);
          expect(groupNorm(x, 2, ones([8]), zeros([8])).dtype).toBe(dtype);
          expect(layerNorm(x, ones([8]), zeros([8])).dtype).toBe(dtype);
          expect(silu(x).dtype).toBe(dtype);
          expect(gelu(x).dtype).toBe(dtype);
        }
      }),
    ));

  test('float64 is never touched', () =>
    tidy(() => {
      const x = cast(randn([2, 2]), 'float64');
      autocast('bfloat16', () => {
        expect(matmul(x, x).dtype).toBe('float64');
        expect(exp(x).dtype).toBe('float64');
        expect(() => matmul(x, randn([2, 2]))).toThrow(DTypeError);
      });
    }));
});

describe('gradients', () => {
  test('of float32 weights are float32, and those of the conversions by hand', () =>
    tidy(() => {
      const [x, weight, bias] = [randn([5, 3]), leaf([4, 3]), leaf([4])];
      const by = (dtype: DType, y: Tensor): number[][] => {
        for (const each of [weight, bias]) {
          each.grad?.dispose();
          each.grad = null;
        }
        y.backward();
        return [weight, bias].map(({ grad }) => {
          expect(grad!.dtype).toBe('float32');
          return numbers(grad!);
        });
      };
      for (const dtype of ['bfloat16', 'float16'] as const) {
        const automatic = by(
          dtype,
          autocast(dtype, () => mean(square(linear(x, weight, bias)))),
        );
        const y = linear(cast(x, dtype), cast(weight, dtype), cast(bias, dtype));
        expect(automatic).toEqual(by(dtype, mean(square(cast(y, 'float32')))));
      }
    }));

  test('backward inside a region is the one outside', () =>
    tidy(() => {
      const weight = leaf([4, 3]);
      const x = randn([2, 3]);
      const channel = leaf([1, 4]);
      const loss = () => {
        const image = conv2d(x.reshape([1, 2, 3, 1]), weight.reshape([4, 1, 3, 1]), null, {
          channelAdd: channel,
        });
        return mean(exp(softmax(image)));
      };
      autocast('bfloat16', loss).backward();
      const outside = [weight, channel].map((each) => numbers(each.grad!));
      weight.grad = channel.grad = null;
      autocast('bfloat16', () => loss().backward());
      expect([weight, channel].map((each) => numbers(each.grad!))).toEqual(outside);
    }));

  test('several walks in one region, and a weight met first without recording', () =>
    tidy(() => {
      const [x, weight] = [randn([2, 3]), leaf([4, 3])];
      autocast('bfloat16', () => {
        noGrad(() => linear(x, weight));
        sum(linear(x, weight)).backward();
        const once = numbers(weight.grad!);
        sum(linear(x, weight)).backward();
        expect(numbers(weight.grad!)).toEqual(once.map((value) => 2 * value));
      });
    }));

  test('checkpoint recomputes in the region of its forward pass', () =>
    tidy(() => {
      const [x, weight] = [randn([2, 3]), leaf([3, 3])];
      const dtypes: DType[] = [];
      const body = (y: Tensor) => {
        const result = linear(linear(y, weight), weight);
        dtypes.push(result.dtype);
        return result;
      };
      sum(autocast('bfloat16', () => body(x))).backward();
      const plain = numbers(weight.grad!);
      weight.grad = null;
      const y = autocast('bfloat16', () => checkpoint(body, x));
      cast(y, 'float32').sum().backward();
      expect(dtypes).toEqual(['bfloat16', 'bfloat16', 'bfloat16']);
      expect(numbers(weight.grad!)).toEqual(plain);
    }));
});

describe('regions', () => {
  test('nest, switch off inside, and end', () =>
    tidy(() => {
      const [x, weight] = [randn([2, 3]), leaf([4, 3])];
      expect(autocastDType()).toBe(null);
      autocast('bfloat16', () => {
        expect(autocastDType()).toBe('bfloat16');
        autocast('float16', () => expect(linear(x, weight).dtype).toBe('float16'));
        autocast(false, () => {
          expect(autocastDType()).toBe(null);
          expect(linear(x, weight).dtype).toBe('float32');
          expect(() => linear(cast(x, 'bfloat16'), weight)).toThrow(DTypeError);
          autocast('bfloat16', () => expect(linear(x, weight).dtype).toBe('bfloat16'));
        });
        expect(linear(x, weight).dtype).toBe('bfloat16');
      });
      expect(() =>
        autocast('bfloat16', () => {
          throw new Error('inside');
        }),
      ).toThrow('inside');
      expect(autocast(false, () => linear(x, weight)).dtype).toBe('float32');
    }));

  test('follow await; tasks beside each other do not mix', async () => {
    const [x, weight] = [randn([2, 3]), randn([4, 3])];
    const task = (dtype: 'bfloat16' | 'float16') =>
      autocast(dtype, () =>
        tidy(async () => {
          await linear(x, weight).data();
          return linear(x, weight).dtype;
        }),
      );
    expect(await Promise.all([task('bfloat16'), task('float16')])).toEqual(['bfloat16', 'float16']);
    expect(autocastDType()).toBe(null);
    await expect(autocast('bfloat16', () => Promise.reject(new Error('late')))).rejects.toThrow(
      'late',
    );
  });

  test('convert a weight once, frozen ones too, and hold nothing afterwards', () => {
    const device = defaultDevice();
    for (const requiresGrad of [true, false]) {
      const [x, weight] = [cast(randn([2, 3]), 'bfloat16'), randn([4, 3])];
      weight.requiresGrad = requiresGrad;
      const before = device.memoryStats();
      const allocations: number[] = [];
      autocast('bfloat16', () => {
        for (let i = 0; i < 3; i++) {
          const start = device.memoryStats().allocations;
          tidy(() => void linear(x, weight));
          allocations.push(device.memoryStats().allocations - start);
        }
      });
      expect(allocations).toEqual([2, 1, 1]);
      const after = device.memoryStats();
      expect([after.tensors, after.liveBytes]).toEqual([before.tensors, before.liveBytes]);
    }
  });

  test('see weights that an optimizer changed inside', () => {
    const [x, weight] = [randn([2, 3]), leaf([4, 3])];
    const optimizer = new SGD([weight], { lr: 1 });
    autocast('bfloat16', () => {
      sum(linear(x, weight)).backward();
      optimizer.step();
      expect(numbers(linear(x, weight))).toEqual(
        autocast(false, () => numbers(linear(cast(x, 'bfloat16'), cast(weight, 'bfloat16')))),
      );
    });
  });

  test('see an average that moved inside', () =>
    tidy(() => {
      const weight = keep(ones([2, 2]));
      const ema = new Ema([['weight', weight]], { decay: 0.5, useNumUpdates: false });
      const x = ones([1, 2]);
      zeros_(weight);
      autocast('bfloat16', () => {
        const average = ema.averageOf(weight)!;
        expect(numbers(linear(x, average))).toEqual([2, 2]);
        ema.update();
        expect(numbers(linear(x, average))).toEqual([1, 1]);
      });
      ema.dispose();
      weight.dispose();
    }));

  test('work that outlives its region still computes, and leaks nothing', async () => {
    const [x, weight] = [randn([2, 3]), randn([4, 3])];
    await collectGarbage();
    const before = defaultDevice().memoryStats().tensors;
    let late!: Promise<DType>;
    autocast('bfloat16', () => {
      late = Promise.resolve().then(() => tidy(() => linear(x, weight).dtype));
    });
    expect(await late).toBe('bfloat16');
    expect(defaultDevice().memoryStats().tensors).toBe(before);
  });

  test('refuse other dtypes by name', () => {
    expect(() => autocast('float32' as 'float16', () => 1)).toThrow(
      "autocast: expected 'bfloat16', 'float16' or false, got 'float32'",
    );
  });
});
