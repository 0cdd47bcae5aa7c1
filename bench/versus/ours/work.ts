// What emulsion runs in each case of the comparison; theirs/server.py has the same under the same names.
import {
  AdamW,
  add,
  attention,
  conv2d,
  grad,
  groupNorm,
  layerNorm,
  linear,
  matmul,
  noise,
  parameter,
  silu,
  softmax,
  TorchGenerator,
  type Tensor,
} from '../../../lib/index.js';
import type { Work } from '../protocol.js';
import { prepareAutoencoder, prepareUnet } from './networks.js';

export interface Prepared {
  run(): unknown;
  dispose(): void;
}

type DType = 'float32' | 'float64';

/** Makes the inputs of a case, in order, as PyTorch makes them. */
class Inputs {
  private readonly generator = new TorchGenerator(0);
  readonly made: Tensor[] = [];

  constructor(private readonly dtype: DType) {}

  /** The numbers of torch.randn, or others where drawing those one by one would take long. */
  randn(...shape: number[]): Tensor {
    const small = shape.reduce((a, b) => a * b, 1) < 2 ** 22;
    const drawn = small ? this.generator.randn(shape) : noise(shape, { seed: 0 });
    const x = drawn.to(this.dtype);
    if (x !== drawn) drawn.dispose();
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
    const p = parameter(inputs.randn(count));
    p.grad = inputs.randn(count);
    const optimizer = new AdamW([p], { lr: 1e-4 });
    return () => optimizer.step();
  },
  unet: (inputs, args) => prepareUnet((...shape) => inputs.randn(...shape), args),
  autoencoder: (inputs, args) => prepareAutoencoder((...shape) => inputs.randn(...shape), args),
};
/* eslint-enable @typescript-eslint/no-explicit-any */

export function prepare({ kind, args }: Work, dtype: DType = 'float32'): Prepared {
  const inputs = new Inputs(dtype);
  const run = builders[kind](inputs, args);
  return { run, dispose: () => inputs.made.forEach((x) => x.dispose()) };
}

/** Of the forward pass in float32 against float64 on the same inputs. */
export async function relativeError(work: Work): Promise<number> {
  const values = async (dtype: DType): Promise<Float64Array> => {
    const { run, dispose } = prepare(work, dtype);
    const y = run() as Tensor;
    const data = Float64Array.from((await y.data()) as Float64Array);
    y.dispose();
    dispose();
    return data;
  };
  const [y, exact] = [await values('float32'), await values('float64')];
  const norm = (of: (i: number) => number): number =>
    Math.sqrt(exact.reduce((sum, _, i) => sum + of(i) ** 2, 0));
  return norm((i) => y[i] - exact[i]) / norm((i) => exact[i]);
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
