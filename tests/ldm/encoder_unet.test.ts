import { describe, expect, it, vi } from 'vitest';
import {
  AttentionPool2d,
  concat,
  encoderUnetConfig,
  EncoderUNetModel,
  groupNorm,
  keep,
  linear,
  manualSeed,
  randn,
  relu,
  silu,
  tensor,
  UNetModel,
  type EncoderPool,
  type Tensor,
} from '../../lib/index.js';
import type { ResBlock } from '../../lib/ldm/unet/index.js';
import { expectClose } from '../support/expect_close.js';
import { at, generate } from '../support/oracle.js';

const config = {
  imageSize: 8,
  inChannels: 3,
  outChannels: 5,
  modelChannels: 32,
  numResBlocks: 1,
  attentionResolutions: [2],
  channelMult: [1, 2],
  numHeadChannels: 16,
} as const;

describe('EncoderUNetModel', () => {
  const heads: Record<EncoderPool, Record<string, number[]>> = {
    adaptive: { 'out.0.weight': [64], 'out.3.weight': [5, 64, 1, 1] },
    attention: {
      'out.0.weight': [64],
      'out.2.positional_embedding': [64, 17],
      'out.2.qkv_proj.weight': [192, 64, 1],
      'out.2.c_proj.weight': [5, 64, 1],
    },
    // 32 + 32 + 32 + 64 on the way down and 64 in the middle
    spatial: { 'out.0.weight': [2048, 224], 'out.2.weight': [5, 2048] },
    spatial_v2: { 'out.0.weight': [2048, 224], 'out.1.weight': [2048], 'out.3.weight': [5, 2048] },
  };

  it.each(Object.keys(heads) as EncoderPool[])('%s: keys, logits, gradients', async (pool) => {
    const model = new EncoderUNetModel({ ...config, pool });
    const state = model.exportState();
    const found = [...state].filter(([key]) => key.startsWith('out.') && !key.endsWith('.bias'));
    expect(Object.fromEntries(found.map(([key, { shape }]) => [key, [...shape]]))).toEqual(
      heads[pool],
    );
    expect(state.has('input_blocks.3.1.qkv.weight')).toBe(true);
    expect(state.has('middle_block.1.qkv.weight')).toBe(true);
    const logits = model.forward(randn([2, 8, 8, 3]), tensor(BigInt64Array.of(3n, 700n)));
    expect(logits.shape).toEqual([2, 5]);
    logits.square().sum().add(logits.sum()).backward();
    expect(model.parameters().filter((each) => each.grad === null)).toEqual([]);
    expect(Number.isFinite(await logits.sum().item())).toBe(true);
    model.dispose();
  });

  // Random weights everywhere, and the maps of every stage of the way down and of the middle.
  function traced(pool: EncoderPool) {
    manualSeed(8);
    const model = new EncoderUNetModel({ ...config, pool });
    const drawn = [...model.namedParameters()].map(
      ([key, x]) => [key, randn(x.shape).mul(0.2)] as const,
    );
    model.loadStateDict(new Map(drawn));
    const stages = [...model.input_blocks, model.middle_block];
    const runs = stages.map((stage) => vi.spyOn(stage, 'run'));
    const [x, t] = [randn([2, 8, 8, 3]), tensor(BigInt64Array.of(3n, 700n))];
    const logits = model.forward(x, t);
    const maps = runs.map(({ mock }) => mock.results[0].value as Tensor);
    const weights = model.namedParameters();
    const head = (name: string) => {
      const [weight, bias] = ['weight', 'bias'].map((part) => weights.get(`out.${name}.${part}`)!);
      return { weight: weight.reshape(weight.shape.slice(0, 2)), bias };
    };
    const layer = (h: Tensor, name: string) => linear(h, head(name).weight, head(name).bias);
    const norm = (h: Tensor, name: string) => {
      const [weight, bias] = ['weight', 'bias'].map((part) => weights.get(`out.${name}.${part}`));
      return groupNorm(h, 32, weight, bias);
    };
    return { model, x, t, logits, maps, layer, norm };
  }
  const expectSame = (actual: Tensor, expected: Tensor, reduction: number) =>
    expectClose(actual.dataSync() as Float32Array, expected.dataSync() as Float32Array, {
      dtype: 'float32',
      reduction,
    });

  it('adaptive: a layer on the mean of the last map, normed', () => {
    const { logits, maps, layer, norm } = traced('adaptive');
    expectSame(logits, layer(silu(norm(maps.at(-1)!, '0')).mean([1, 2]), '3'), 64);
  });

  it('attention: the mean of the last map, normed, attends to its positions', () => {
    const { model, logits, maps, norm } = traced('attention');
    const pool = model.out[2] as AttentionPool2d;
    expect([pool.side, pool.qkv_proj.weight.shape[0]]).toEqual([4, 192]);
    expectSame(logits, pool.forward(silu(norm(maps.at(-1)!, '0'))), 64);
  });

  it('spatial: two layers on the means of all maps, in their order', () => {
    const { logits, maps, layer } = traced('spatial');
    const means = concat(
      maps.map((map) => map.mean([1, 2])),
      1,
    );
    expect(means.shape).toEqual([2, 224]);
    expectSame(logits, layer(relu(layer(means, '0')), '2'), 2048);
  });

  it('spatial_v2: with a norm of 32 groups and SiLU between', () => {
    const { logits, maps, layer, norm } = traced('spatial_v2');
    const means = concat(
      maps.map((map) => map.mean([1, 2])),
      1,
    );
    expectSame(logits, layer(silu(norm(layer(means, '0'), '1')), '3'), 2048);
  });

  it("goes down as the denoising network does, with its weights' names", () => {
    const { model, x, t, maps } = traced('adaptive');
    const unet = new UNetModel(config);
    const own = unet.stateDict();
    const shared = [...model.stateDict()].filter(([key]) => !key.startsWith('out.'));
    expect(shared.every(([key]) => own.has(key))).toBe(true);
    unet.loadStateDict(new Map(shared), { strict: false });
    const last = [...unet.middle_block].at(-1) as ResBlock;
    const forward = last.forward.bind(last);
    let map!: Tensor;
    vi.spyOn(last, 'forward').mockImplementation((...given) => {
      const made = forward(...given);
      map = keep(made.alias());
      return made;
    });
    unet.forward(x, t);
    expect(map.dataSync()).toEqual(maps.at(-1)!.dataSync());
  });

  it("reads a diffusion model's own parameters", () => {
    const params = { in_channels: 3, out_channels: 10, model_channels: 32, num_res_blocks: 1 };
    const given = { ...params, attention_resolutions: [2], num_heads: 4, context_dim: 512 };
    expect(encoderUnetConfig({ ...given, pool: 'spatial' })).toEqual({
      inChannels: 3,
      outChannels: 10,
      modelChannels: 32,
      numResBlocks: 1,
      attentionResolutions: [2],
      numHeads: 4,
      pool: 'spatial',
    });
  });

  it('refuses an unknown pool and wrong shapes', () => {
    expect(() => new EncoderUNetModel({ ...config, pool: 'max' as EncoderPool })).toThrow(
      /unknown pool 'max'. Known are adaptive/,
    );
    const model = new EncoderUNetModel(config);
    expect(() => model.forward(randn([2, 8, 8, 4]), tensor(BigInt64Array.of(3n, 7n)))).toThrow(
      /x must be \[N, H, W, 3\] and t \[N\]. Got \[2, 8, 8, 4\]/,
    );
  });
});

it('AttentionPool2d is the attention of the mean over all positions', async () => {
  const [N, S, C, K, out] = [2, 3, 8, 2, 5];
  const pool = new AttentionPool2d(S, C, C / K, out).to('float64');
  const x = randn([N, S, S, C], { dtype: 'float64' });
  const array = (t: typeof x) => ({ shape: t.shape, data: t.dataSync() as Float64Array });
  const [map, place, w, b, cw, cb] = [
    x,
    pool.positional_embedding,
    pool.qkv_proj.weight,
    pool.qkv_proj.bias!,
    pool.c_proj.weight,
    pool.c_proj.bias!,
  ].map(array) as Parameters<typeof at>[0][];
  const T = S * S + 1;
  const position = (n: number, t: number, c: number): number =>
    at(map, n, Math.floor((t - 1) / S), (t - 1) % S, c);
  const token = (n: number, t: number, c: number): number => {
    let mean = 0;
    for (let i = 1; i < T; ++i) mean += position(n, i, c) / (T - 1);
    return (t === 0 ? mean : position(n, t, c)) + at(place, c, t);
  };
  const project = (n: number, t: number, row: number): number => {
    let sum = at(b, row);
    for (let c = 0; c < C; ++c) sum += at(w, row, c) * token(n, t, c);
    return sum;
  };
  const D = C / K;
  const mixed = (n: number, channel: number): number => {
    const head = Math.floor(channel / D) * D;
    const weights = Array.from({ length: T }, (_, t) => {
      let dot = 0;
      for (let d = 0; d < D; ++d) dot += project(n, 0, head + d) * project(n, t, C + head + d);
      return Math.exp(dot / Math.sqrt(D));
    });
    const total = weights.reduce((a, each) => a + each);
    return weights.reduce((a, each, t) => a + (each / total) * project(n, t, 2 * C + channel), 0);
  };
  const expected = generate([N, out], (n, o) => {
    let sum = at(cb, o);
    for (let c = 0; c < C; ++c) sum += at(cw, o, c) * mixed(n, c);
    return sum;
  });
  const found = [...((await pool.forward(x).data()) as Float64Array)];
  found.forEach((value, i) => expect(value).toBeCloseTo(expected.data[i], 10));
});
