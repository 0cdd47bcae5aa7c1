// PyTorch's CPU generator: what it draws is named by the output (`randn_17`, `randint1000_16`, ...).
import { TorchGenerator, type Tensor } from '../../../lib/index.js';
import type { GoldenCase } from '../golden.js';
import type { Adapter, Results } from '../runner.js';
import { fromTensor } from '../tensors.js';

// drawn from one stream, in this order; every other output comes right after seeding
const stream = /^seq_/;
const streamOrder = ['randn3_a', 'randn3_b', 'rand2', 'randn20', 'randint7_4', 'randn1'];

/** Draws what a name such as `randn_f64_20` or `randint1000_16` asks for; undefined if it is not ours. */
function draw(
  generator: TorchGenerator,
  name: string,
  shape: readonly number[],
): Tensor | undefined {
  const dtype = name.includes('f64') ? 'float64' : 'float32';
  const range = /^randint(\d+)_/.exec(name);
  if (range) return generator.randint(0, Number(range[1]), shape);
  if (/^randn/.test(name)) return generator.randn(shape, { dtype });
  if (/^rand(_|\d)/.test(name)) return generator.rand(shape, { dtype });
  return undefined;
}

export const torchRandom: Adapter = {
  name: 'torch_rng',
  accuracy: 'elementwise',
  handles: (golden) => golden.subject === 'torch_rng',
  // of NumPy's generators, and a shuffle that nothing here needs
  informative: /^out\.(numpy_|randperm_)/,
  async run(golden: GoldenCase) {
    const seed = Number(golden.meta.seed);
    const results: Results = new Map();
    const names = golden.named('out.');
    const shapes = new Map<string, readonly number[]>();
    for (const name of names) shapes.set(name, (await golden.values(`out.${name}`)).shape);
    const add = async (name: string, x: Tensor | undefined) => {
      if (x) results.set(`out.${name}`, await fromTensor(x, 'same'));
    };

    const sequence = new TorchGenerator(seed);
    for (const part of streamOrder) {
      const shape = shapes.get(`seq_${part}`);
      if (shape) await add(`seq_${part}`, draw(sequence, part, shape));
    }
    for (const name of names.filter((each) => !stream.test(each))) {
      const generator = new TorchGenerator(seed);
      const shape = shapes.get(name)!;
      if (name.startsWith('mt19937_words')) {
        const words = Array.from({ length: shape[0] }, () => generator.word());
        results.set(`out.${name}`, { shape, data: words });
      } else if (name === 'train_like_noise') {
        generator.randint(0, 1000, [2]);
        await add(name, generator.randn(shape));
      } else {
        await add(name, draw(generator, name, shape));
      }
    }
    return results;
  },
};
