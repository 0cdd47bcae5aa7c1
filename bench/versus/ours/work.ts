// What emulsion runs in each case of the comparison; theirs/server.py has the same under the same names.
import {
  AdamW,
  add,
  attention,
  conv2d,
  defaultDevice,
  device,
  grad,
  groupNorm,
  keep,
  layerNorm,
  linear,
  matmul,
  noise,
  parameter,
  silu,
  softmax,
  tidy,
  TorchGenerator,
  type Device,
  type DType,
  type Tensor,
} from '../../../lib/index.js';
import type { Work } from '../protocol.js';
import { prepareAutoencoder, prepareSampling, prepareUnet, type Low } from './networks.js';

export interface Prepared {
  run(): unknown;
  dispose(): void;
}

/** Makes the inputs of a case, in order, as PyTorch makes them. */
class Inputs {
  private readonly generator = new TorchGenerator(0);
  readonly made: Tensor[] = [];

  /** @param rounding what values are rounded to before they become `dtype` */
  constructor(
    readonly dtype: DType,
    private readonly device: Device,
    private readonly rounding: DType = dtype,
  ) {}

  /** The numbers of torch.randn, or others where drawing those one by one would take long. */
  randn(...shape: number[]): Tensor {
    const small = shape.reduce((a, b) => a * b, 1) < 2 ** 22;
    const { device } = this;
    const x = tidy(() =>
      (small ? this.generator.randn(shape, { device }) : noise(shape, { seed: 0, device }))
        .to(this.rounding)
        .to(this.dtype),
    );
    this.made.push(x);
    return x;
  }

  /** What networks, whose weights are float32, tell autocast. */
  get low(): Low {
    return this.dtype === 'bfloat16' || this.dtype === 'float16' ? this.dtype : false;
  }

  /** For weights and what optimizers hold, whatever the dtype of the run. */
  float32(...shape: number[]): Tensor {
    const x = new Inputs('float32', this.device).randn(...shape);
    this.made.push(x);
    return x;
  }
}

/* eslint-disable @typescript-eslint/no-explicit-any -- arguments of a case, as its kind knows them */
type Build = (inputs: Inputs, args: any) => () => unknown;

const builders: Record<string, Build> = {
  gemm(inputs, { m, n, k, transposeA, transposeB }) {
    const a = transposeA ? inputs.randn(k, m) : inputs.randn(m, k);
    const b = transposeB ? inputs.randn(n, k) : inputs.randn(k, n);
    return () => matmul(a, b, { transposeA, transposeB });
  },
  linear(inputs, { m, c, k, pass }) {
    const [x, w, b] = [inputs.randn(m, c), inputs.randn(k, c), inputs.randn(k)];
    return passes(inputs, pass, [x, w, b], () => linear(x, w, b));
  },
  conv(inputs, { n, h, w, c, k, r, stride, pass }) {
    const x = inputs.randn(n, h, w, c);
    const weight = inputs.randn(k, r, r, c);
    const bias = inputs.randn(k);
    const options = { stride, padding: r >> 1 };
    return passes(inputs, pass, [x, weight, bias], () => conv2d(x, weight, bias, options));
  },
  attention(inputs, { n, t, s, heads, d, pass }) {
    const [q, k, v] = [t, s, s].map((length) => inputs.randn(n, length, heads, d));
    return passes(inputs, pass, [q, k, v], () => attention(q, k, v));
  },
  groupNorm(inputs, { n, h, w, c, pass }) {
    const [x, weight, bias] = [inputs.randn(n, h, w, c), inputs.randn(c), inputs.randn(c)];
    return passes(inputs, pass, [x, weight, bias], () =>
      groupNorm(x, 32, weight, bias, { activation: 'silu' }),
    );
  },
  layerNorm(inputs, { m, c, pass }) {
    const [x, weight, bias] = [inputs.randn(m, c), inputs.randn(c), inputs.randn(c)];
    return passes(inputs, pass, [x, weight, bias], () => layerNorm(x, weight, bias));
  },
  softmax(inputs, { m, c, pass }) {
    const x = inputs.randn(m, c);
    return passes(inputs, pass, [x], () => softmax(x));
  },
  elementwise(inputs, { count, op, pass }) {
    const [x, y] = [inputs.randn(count), inputs.randn(count)];
    return op === 'add' ? () => add(x, y) : passes(inputs, pass, [x], () => silu(x));
  },
  tiny(inputs, { repeats }) {
    const [x, y] = [inputs.randn(1), inputs.randn(1)];
    return () => {
      for (let i = 0; i < repeats; i++) add(x, y).dispose();
    };
  },
  adam(inputs, { count }) {
    const p = parameter(inputs.float32(count));
    p.grad = inputs.float32(count);
    const optimizer = new AdamW([p], { lr: 1e-4 });
    return () => optimizer.step();
  },
  unet: (inputs, args) => prepareUnet((...shape) => inputs.float32(...shape), args, inputs.low),
  sampling: (inputs, args) => prepareSampling(args, inputs.low),
  autoencoder: (inputs, args) =>
    prepareAutoencoder((...shape) => inputs.float32(...shape), args, inputs.low),
};
/* eslint-enable @typescript-eslint/no-explicit-any */

export function prepare(
  { kind, args }: Work,
  dtype: DType = 'float32',
  inputs = new Inputs(dtype, defaultDevice()),
): Prepared {
  const run = builders[kind](inputs, args);
  return { run, dispose: () => inputs.made.forEach((x) => x.dispose()) };
}

/** The sets of a piece of work, which take turns; the result of each lives until its next one. */
export function prepareSets(work: Work, dtype: DType): Prepared {
  const { sets = 1 } = work;
  if (sets === 1) return prepare(work, dtype);
  const all = Array.from({ length: sets }, () => ({
    ...prepare(work, dtype),
    results: [] as Tensor[],
  }));
  const forget = ({ results }: (typeof all)[0]) => results.forEach((y) => y.dispose());
  let turns = 0;
  return {
    run() {
      const set = all[turns++ % sets];
      forget(set);
      set.results = ([set.run()].flat() as Tensor[]).map(keep);
    },
    dispose() {
      for (const set of all) {
        forget(set);
        set.dispose();
      }
    },
  };
}

/**
 * Runs it `count` times. A result that left its `tidy` would live until the garbage collector finds
 * it, and the next run would touch fresh memory; PyTorch's is free at once.
 */
export async function repeat({ run }: Prepared, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    let pending: unknown;
    tidy(() => void (pending = run()));
    if (pending instanceof Promise) await pending;
  }
}

/** The largest of the results' against float64, on the CPU, with the same inputs. */
export async function relativeError(work: Work, dtype: DType): Promise<number> {
  const values = async (inputs: Inputs): Promise<Float64Array[]> => {
    const { run, dispose } = prepare(work, inputs.dtype, inputs);
    const results: Float64Array[] = [];
    for (const y of [run()].flat() as Tensor[]) {
      const wide = y.to(inputs.dtype === 'float64' ? 'float64' : 'float32');
      results.push(Float64Array.from((await wide.data()) as Float64Array));
      wide.dispose();
      y.dispose();
    }
    dispose();
    return results;
  };
  const results = await values(new Inputs(dtype, defaultDevice()));
  const exact = await values(new Inputs('float64', device('cpu'), dtype));
  const norm = (of: Float64Array, from?: Float64Array): number =>
    Math.sqrt(of.reduce((sum, value, i) => sum + (value - (from?.[i] ?? 0)) ** 2, 0));
  return Math.max(...results.map((y, i) => norm(y, exact[i]) / norm(exact[i])));
}

// The op itself, or its gradients for some of its inputs: 'input' the first, 'weight' the second.
function passes(
  inputs: Inputs,
  pass: string,
  of: readonly Tensor[],
  forward: () => Tensor,
): () => unknown {
  if (pass === 'forward') return forward;
  const wanted = { input: of.slice(0, 1), weight: of.slice(1, 2), backward: of }[pass]!;
  for (const x of wanted) x.requiresGrad = true;
  const y = forward();
  inputs.made.push(y);
  const gradOutput = inputs.randn(...y.shape);
  return () => grad(y, wanted, { gradOutput, retainGraph: true });
}
