// Ops whose files share one layout, against PyTorch: `CASE/in.*`, `out.*`, upstream `up.*`, `grad.in.*`.
// Images are stored NCHW and heads before tokens; both are turned at the border.
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import {
  attention,
  avgPool2d,
  embedding,
  maxPool2d,
  readSafetensors,
  resize,
  timestepEmbedding,
  upsampleNearest2x,
  type ResizeOptions,
  type SafetensorsFile,
  type Tensor,
} from '../../lib/index.js';

type Inputs = Record<string, Tensor>;
type Cases = Record<string, { args: Record<string, unknown> }>;

interface Golden {
  run: (inputs: Inputs, args: Record<string, unknown>) => Tensor;
  /** Axis order from the file's layout to ours; it is its own inverse unless `back` is given. */
  order?: readonly number[];
  back?: readonly number[];
  /** Largest error relative to the largest reference value. */
  tolerance: number;
  gradientTolerance?: number;
  /** Gradient tolerances of single cases. */
  exceptions?: Record<string, number>;
}

const images = { order: [0, 2, 3, 1], back: [0, 3, 1, 2] };

const ops: Record<string, Golden> = {
  attention: {
    run: ({ q, k, v, mask }) => attention(q, k, v, { mask }),
    order: [0, 2, 1, 3], // [N, K, T, D]
    tolerance: 5e-6,
    gradientTolerance: 1e-5,
    exceptions: { peaked_d16: 5e-5 }, // nearly one-hot weights: differences of almost equal numbers
  },
  resize: {
    run({ x }, args) {
      const size = args.size as [number, number] | null;
      return resize(x, {
        mode: args.mode as ResizeOptions['mode'],
        size: size ?? undefined,
        scaleFactor: (args.scale_factor as number | null) ?? undefined,
        alignCorners: Boolean(args.align_corners),
        antialias: Boolean(args.antialias),
      });
    },
    ...images,
    tolerance: 1.5e-5,
  },
  avg_pool2d: {
    run: ({ x }, args) => avgPool2d(x, args as { kernel: number; stride: number }),
    ...images,
    tolerance: 1e-6,
    gradientTolerance: 3e-6,
  },
  max_pool2d: {
    run: ({ x }, args) => maxPool2d(x, args as { kernel: number; stride: number }),
    ...images,
    tolerance: 0,
    gradientTolerance: 1e-6,
  },
  upsample_nearest2x: {
    run: ({ x }) => upsampleNearest2x(x),
    ...images,
    tolerance: 0,
    gradientTolerance: 1e-6,
  },
  embedding: {
    run: ({ weight, ids }) => embedding(weight, ids),
    tolerance: 0,
    gradientTolerance: 1e-6,
  },
  timestep_embedding: {
    run: ({ t }, args) =>
      timestepEmbedding(t, args.dim as number, {
        variant: args.variant as 'ldm' | 'ddpm',
        maxPeriod: args.max_period as number | undefined,
      }),
    tolerance: 1e-4, // phases up to 999 rad
  },
};

for (const [name, golden] of Object.entries(ops)) {
  const path = fileURLToPath(new URL(`./ops/${name}.safetensors`, import.meta.url));
  const file = await readSafetensors(path);
  const cases = JSON.parse(file.metadata.get('cases')!) as Cases;

  describe(name, () => {
    test.each(Object.keys(cases))('%s', async (caseName) => {
      const inputs = mapValues(await stored(file, `${caseName}/in.`), (x) => turn(x, golden.order));
      const gradients = await stored(file, `${caseName}/grad.in.`);
      const outputs = await stored(file, `${caseName}/out.`);
      const upstream = await stored(file, `${caseName}/up.`);
      for (const input of Object.keys(gradients)) inputs[input].requiresGrad = true;

      const y = golden.run(inputs, cases[caseName].args);
      const output = Object.keys(outputs).sort()[0]; // `emb` before `emb_f64`
      const turned = turn(y.detach(), golden.back ?? golden.order);
      expectNear(turned, outputs[output], golden.tolerance);
      if (Object.keys(gradients).length === 0) return;
      y.backward(turn(upstream[output], golden.order));
      const tolerance =
        golden.exceptions?.[caseName] ?? golden.gradientTolerance ?? golden.tolerance;
      // Gradients that vanish by construction are rounding noise of the others' size.
      const scale = Math.max(...Object.values(gradients).map(largest));
      for (const [input, expected] of Object.entries(gradients)) {
        const actual = turn(inputs[input].grad!, golden.back ?? golden.order);
        expectNear(actual, expected, tolerance, largest(expected) || scale);
      }
    });
  });
}

async function stored(file: SafetensorsFile, prefix: string): Promise<Inputs> {
  const found: Inputs = {};
  for (const key of file.keys)
    if (key.startsWith(prefix)) found[key.slice(prefix.length)] = await file.get(key);
  return found;
}

function turn(x: Tensor, order: readonly number[] | undefined): Tensor {
  return order && x.rank === 4 ? x.permute(order) : x;
}

function expectNear(
  actual: Tensor,
  expected: Tensor,
  tolerance: number,
  scale = largest(expected),
) {
  expect(actual.shape).toEqual(expected.shape);
  const wanted = values(expected);
  const errors = values(actual).map((value, i) => Math.abs(value - wanted[i]));
  const worst = errors.reduce((a, b) => (b <= a ? a : b), 0); // NaN wins
  expect(worst).toBeLessThanOrEqual(tolerance * scale);
}

const values = (x: Tensor): number[] => Array.from(x.dataSync() as ArrayLike<number>, Number);

const largest = (x: Tensor): number => Math.max(...values(x).map(Math.abs));

function mapValues<V, R>(record: Record<string, V>, fn: (value: V) => R): Record<string, R> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, fn(value)]));
}
