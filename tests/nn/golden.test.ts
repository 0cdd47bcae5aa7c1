// Layers that read their weights from PyTorch's files give PyTorch's outputs and gradients.
import { describe, expect, test } from 'vitest';
import {
  BatchNorm2d,
  Conv2d,
  GroupNorm,
  LayerNorm,
  Linear,
  permute,
  readSafetensors,
  withPrefix,
  type Module,
  type StateReader,
  type Tensor,
} from '../../lib/index.js';
import { golden } from '../io/temporary.js';
import { expectClose } from '../support/expect_close.js';

interface Args {
  stride: number;
  pad: number[];
  num_groups: number;
  eps: number;
  silu: boolean;
  momentum: number;
  training: boolean;
}

type Make = (args: Args, weight: readonly number[], hasBias: boolean) => Module<[Tensor], Tensor>;

// [N, C, ...] ↔ [N, ..., C]
const lastAxes = (rank: number) => Array.from({ length: rank - 2 }, (_, i) => i + 2);
const toChannelsLast = (x: Tensor) => permute(x, [0, ...lastAxes(x.rank), 1]);
const toChannelsFirst = (x: Tensor) =>
  permute(x, [0, x.rank - 1, ...lastAxes(x.rank).map((axis) => axis - 1)]);

async function compare(actual: Tensor, reader: StateReader, key: string): Promise<void> {
  const expected = await reader.get(key);
  expect(actual.shape, key).toEqual(expected.shape);
  const closeness = { dtype: 'float32', tolerance: 'matmul', reduction: 64, what: key } as const;
  expectClose(await actual.data(), await expected.data(), closeness);
}

async function testCase(file: StateReader, args: Args, make: Make, channelsFirst: boolean) {
  const state = withPrefix(file, 'in.');
  const hasBias = state.has('bias');
  const module = make(args, state.info('weight').shape, hasBias).train(args.training ?? true);
  const report = await module.importState(state, { strict: false });
  expect(report.missing.filter((key) => key !== 'num_batches_tracked')).toEqual([]);
  expect(report.unexpected).toEqual(['x']);

  const into = channelsFirst ? toChannelsLast : (x: Tensor) => x.detach();
  const back = channelsFirst ? toChannelsFirst : (x: Tensor) => x;
  const x = into(await state.get('x'));
  x.requiresGrad = true;
  const y = module.forward(x);
  await compare(back(y), file, 'out.y');
  y.backward(into(await file.get('up.y')));
  await compare(back(x.grad!), file, 'grad.in.x');
  for (const [key, parameter] of module.namedParameters()) {
    const layout = module.fileLayout(key);
    const gradient = layout ? layout.toFile(parameter.grad!) : parameter.grad!;
    await compare(gradient, file, `grad.in.${key}`);
  }
  for (const [key, tensor] of module.namedBuffers()) {
    if (file.has(`out.${key}`)) await compare(tensor, file, `out.${key}`);
  }
}

// One test per case of the file; the case's name and arguments are in its metadata.
async function testFile(
  name: string,
  make: Make,
  options: { channelsFirst: boolean; skip?: string[] },
): Promise<void> {
  const file = await readSafetensors(golden(`ops/${name}.safetensors`));
  const cases = JSON.parse(file.metadata.get('cases')!) as Record<string, { args: Args }>;
  describe(name, () => {
    for (const [key, { args }] of Object.entries(cases)) {
      if (options.skip?.includes(key)) continue;
      test(key, () => testCase(withPrefix(file, `${key}/`), args, make, options.channelsFirst));
    }
  });
}

const makeConv: Make = ({ stride, pad }, weight, bias) => {
  const [outChannels, inChannels, ...kernelSize] = weight;
  if (kernelSize.length === 1)
    return new Linear(inChannels, outChannels, { bias, storedAs: 'conv1d' });
  const [left, right, top, bottom] = pad;
  return new Conv2d(inChannels, outChannels, {
    kernelSize: kernelSize as [number, number],
    stride,
    padding: { left, right, top, bottom },
    bias,
  });
};

const makeGroupNorm: Make = ({ num_groups, eps, silu }, [channels]) =>
  new GroupNorm(num_groups, channels, { eps, activation: silu ? 'silu' : undefined });

await testFile('conv2d', makeConv, { channelsFirst: true });
// A large mean with a tiny deviation is the operator's own test, with a tolerance of its own.
await testFile('group_norm', makeGroupNorm, { channelsFirst: true, skip: ['g32_c32_offset'] });
await testFile('linear', (_, [out, inputs], bias) => new Linear(inputs, out, { bias }), {
  channelsFirst: false,
});
await testFile('layer_norm', ({ eps }, [features]) => new LayerNorm(features, { eps }), {
  channelsFirst: false,
});
await testFile(
  'batch_norm2d',
  ({ eps, momentum }, [channels]) => new BatchNorm2d(channels, { eps, momentum }),
  { channelsFirst: true },
);
