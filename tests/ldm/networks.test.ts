// Networks from published parameters: keys, shapes, starts, and errors that say what to mend.
import { describe, expect, it, vi } from 'vitest';
import { withDefaults } from '../../lib/ldm/unet/config.js';
import {
  AutoencoderKL,
  autoencoderConfig,
  defaultDevice,
  GaussianDiffusion,
  GroupNorm,
  keep,
  LPIPSWithDiscriminator,
  groupNorm,
  linear,
  manualSeed,
  normal_,
  ones,
  randn,
  tensor,
  tidy,
  UNetModel,
  unetConfig,
  VQLPIPSWithDiscriminator,
  vqConfig,
  VQModel,
  type Module,
  type Tensor,
} from '../../lib/index.js';
import { expectClose } from '../support/expect_close.js';

/** The gradients of all parameters, and the bytes that finding them took at most, beside the model. */
function learnt(model: Module<never>, loss: () => Tensor) {
  const device = defaultDevice();
  const { liveBytes } = device.memoryStats();
  device.resetPeak();
  tidy(() => loss().backward());
  const bytes = device.memoryStats().peakBytes - liveBytes;
  const gradients = [...model.namedParameters()].map(
    ([name, x]) => [name, x.grad!.dataSync() as Float32Array] as const,
  );
  expect(gradients.every(([, values]) => values.some((value) => value !== 0))).toBe(true);
  return { gradients: new Map(gradients), bytes };
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength);
const data = (x: Tensor) => x.dataSync() as Float32Array;

const unetParams = {
  image_size: 8,
  in_channels: 4,
  out_channels: 4,
  model_channels: 32,
  num_res_blocks: 1,
  attention_resolutions: [2],
  channel_mult: [1, 2],
  num_head_channels: 16,
};

const firstStageParams = {
  embed_dim: 3,
  lossconfig: { target: 'torch.nn.Identity' },
  monitor: 'val/rec_loss',
  ddconfig: {
    double_z: true,
    z_channels: 4,
    resolution: 16,
    in_channels: 3,
    out_ch: 3,
    ch: 32,
    ch_mult: [1, 2],
    num_res_blocks: 1,
    attn_resolutions: [],
    dropout: 0,
  },
};

describe('UNetModel', () => {
  it('uses the names of checkpoints', () => {
    const state = new UNetModel(unetConfig(unetParams)).exportState();
    const shape = (key: string) => state.get(key)?.shape;
    expect(shape('time_embed.0.weight')).toEqual([128, 32]);
    expect(shape('input_blocks.0.0.weight')).toEqual([32, 4, 3, 3]);
    expect(shape('input_blocks.2.0.op.weight')).toEqual([32, 32, 3, 3]);
    expect(shape('input_blocks.3.0.emb_layers.1.weight')).toEqual([64, 128]);
    expect(shape('input_blocks.3.1.qkv.weight')).toEqual([192, 64, 1]);
    expect(shape('middle_block.1.proj_out.weight')).toEqual([64, 64, 1]);
    expect(shape('output_blocks.1.2.conv.weight')).toEqual([64, 64, 3, 3]);
    expect(shape('output_blocks.3.0.skip_connection.weight')).toEqual([32, 64, 1, 1]);
    expect(shape('out.2.bias')).toEqual([4]);
  });

  it('predicts nothing at first, because its last layers start at zero', () => {
    const unet = new UNetModel(unetConfig(unetParams));
    const y = unet.forward(randn([2, 8, 8, 4]), tensor([1, 999], { dtype: 'int64' }));
    expect(y.shape).toEqual([2, 8, 8, 4]);
    expect((y.dataSync() as Float32Array).every((value) => value === 0)).toBe(true);
  });

  it.each([true, false])('recomputes blocks for the same gradients: transformers %s', (text) => {
    const attends = text
      ? { num_head_channels: -1, num_heads: 2, use_spatial_transformer: true, context_dim: 8 }
      : {};
    const t = tensor([999], { dtype: 'int64' });
    const [x, context] = [randn([1, 32, 32, 4]), text ? randn([1, 3, 8]) : undefined];
    const [kept, recomputed] = [false, true].map((use_checkpoint) => {
      manualSeed(5);
      const config = unetConfig({ ...unetParams, ...attends, use_checkpoint });
      const unet = new UNetModel({ ...config, normGroups: 4 });
      // what starts at zero would hide everything before it
      for (const weight of unet.parameters()) normal_(weight, 0, 0.1);
      return learnt(unet, () => unet.forward(x, t, { context }).square().mean());
    });
    // A map with a skip has three readers, whose gradients are added in another order.
    for (const [name, gradient] of kept.gradients)
      expectClose(recomputed.gradients.get(name)!, gradient, {
        dtype: 'float32',
        tolerance: 'matmul',
        reduction: 32 * 32,
      });
    expect(recomputed.bytes).toBeLessThan(0.85 * kept.bytes);
  });

  it('predicts codes with a norm and a layer in the place of its last ones', async () => {
    manualSeed(6);
    const config = { ...unetConfig(unetParams), nEmbed: 7 };
    const unet = new UNetModel(config);
    const weights = unet.exportState();
    expect(weights.get('id_predictor.0.weight')?.shape).toEqual([32]);
    expect(weights.get('id_predictor.1.weight')?.shape).toEqual([7, 32, 1, 1]);
    expect(weights.has('out.2.weight')).toBe(true);
    const drawn = [...unet.namedParameters()].map(
      ([key, x]) => [key, randn(x.shape).mul(0.2)] as const,
    );
    unet.loadStateDict(new Map(drawn));
    const norm = unet.id_predictor![0];
    const forward = norm.forward.bind(norm);
    let h!: Tensor; // [N, 8, 8, 32]
    vi.spyOn(norm, 'forward').mockImplementation((map) => forward((h = keep(map.alias()))));
    const [x, t] = [randn([2, 8, 8, 4]), tensor([1, 999], { dtype: 'int64' })];
    const logits = unet.forward(x, t);
    const [scale, shift, matrix, bias] = ['0.weight', '0.bias', '1.weight', '1.bias'].map((name) =>
      unet.namedParameters().get(`id_predictor.${name}`)!,
    );
    const expected = linear(groupNorm(h, 32, scale, shift), matrix.reshape([7, 32]), bias);
    expect(logits.shape).toEqual([2, 8, 8, 7]);
    expectClose(data(logits), data(expected), { dtype: 'float32', reduction: 32 });
    // the map itself is that of the same network without codes
    const plain = new UNetModel(unetConfig(unetParams));
    plain.loadStateDict(new Map(drawn.filter(([key]) => !key.startsWith('id_predictor'))));
    const output = unet.out[2].forward(unet.out[0].forward(h));
    expect(data(plain.forward(x, t))).toEqual(data(output));
  });

  it('takes fewer groups where channels are few', () => {
    const narrow = { ...unetConfig(unetParams), modelChannels: 24, numHeadChannels: 8 };
    expect(() => new UNetModel(narrow)).toThrow(/24.*divisible by.*32/);
    for (const useSpatialTransformer of [false, true]) {
      const context = useSpatialTransformer ? { contextDim: 8, useSpatialTransformer } : {};
      const unet = new UNetModel({ ...narrow, ...context, normGroups: 4 });
      const norms = [...unet.modules()].filter((each) => each instanceof GroupNorm);
      expect(norms.map((each) => each.groups)).toEqual(norms.map(() => 4));
      expect(norms).toHaveLength(21);
    }
  });

  it('takes what is given as undefined as not given', () => {
    const config = unetConfig(unetParams);
    const some = { ...config, dropout: undefined, numHeadsUpsample: undefined, legacy: undefined };
    expect(withDefaults(some)).toEqual(withDefaults(config));
  });

  it('has other heads on the way up in attention blocks of the legacy kind alone', () => {
    const outputs = (options: object) =>
      [4, 2].map((numHeadsUpsample) => {
        manualSeed(7);
        const config = { ...unetConfig(unetParams), numHeadChannels: -1, numHeads: 4, ...options };
        const unet = new UNetModel({ ...config, numHeadsUpsample });
        for (const weight of unet.parameters()) normal_(weight, 0, 0.1);
        const context = 'contextDim' in options ? ones([1, 3, 8]) : undefined;
        const t = tensor([7], { dtype: 'int64' });
        return data(unet.forward(ones([1, 8, 8, 4]), t, { context }));
      });
    const [four, two] = outputs({});
    expect(two).not.toEqual(four);
    for (const options of [{ legacy: false }, { useSpatialTransformer: true, contextDim: 8 }]) {
      const [some, others] = outputs(options);
      expect(others).toEqual(some);
    }
  });

  it('says what is wrong', () => {
    expect(() => unetConfig({ ...unetParams, num_headz: 4 })).toThrow(
      /unknown parameter 'num_headz'/,
    );
    expect(() => new UNetModel(unetConfig({ ...unetParams, channel_mult: [2, 4] }))).toThrow(
      /channelMult must start with 1.*\[2, 4\]/,
    );
    expect(() => new UNetModel(unetConfig({ ...unetParams, num_head_channels: -1 }))).toThrow(
      /give numHeads or numHeadChannels/,
    );
    const unet = new UNetModel(unetConfig(unetParams));
    const t = tensor([1], { dtype: 'int64' });
    expect(() => unet.forward(randn([1, 7, 8, 4]), t)).toThrow(/divisible by 2.*\[1, 7, 8, 4\]/);
    expect(() => unet.forward(randn([1, 8, 8, 3]), t)).toThrow(/\[N, H, W, 4\]/);
    expect(() => unet.forward(randn([2, 8, 8, 4]), t)).toThrow(/one timestep per sample/);
    expect(() => unet.forward(randn([1, 8, 8, 4]), t, { y: t })).toThrow(/no classes/);
  });
});

describe('first stages', () => {
  const last = (model: AutoencoderKL | VQModel) => model.decoder.conv_out.weight;
  const params = (use_checkpoint: boolean, attn_type: string, double_z = true) => {
    const options = { double_z, use_checkpoint, attn_type, attn_resolutions: [8], dropout: 0.2 };
    const deep = { ch_mult: [1, 1], num_res_blocks: 3 };
    return { embed_dim: 4, ddconfig: { ...firstStageParams.ddconfig, ...deep, ...options } };
  };
  const lossConfig = { discStart: 0, perceptualWeight: 0, discNdf: 4, discNumLayers: 2 };
  const images = randn([1, 32, 32, 3]);

  const kl = (use_checkpoint: boolean, attention: string) => {
    const model = new AutoencoderKL(autoencoderConfig(params(use_checkpoint, attention)));
    const loss = new LPIPSWithDiscriminator(lossConfig);
    return learnt(model, () => {
      const { reconstruction: reconstructions, posterior } = model.forward(images, { seed: 1 });
      const passed = { inputs: images, reconstructions, posterior };
      return loss.generatorLoss({ ...passed, lastLayer: last(model), globalStep: 0 }).loss;
    });
  };
  const vq = (use_checkpoint: boolean, attention: string) => {
    const config = { ...params(use_checkpoint, attention, false), n_embed: 16 };
    const model = new VQModel(vqConfig(config));
    const loss = new VQLPIPSWithDiscriminator(lossConfig);
    return learnt(model, () => {
      const { reconstruction: reconstructions, loss: codebookLoss } = model.forward(images);
      const passed = { inputs: images, reconstructions, codebookLoss };
      return loss.generatorLoss({ ...passed, lastLayer: last(model), globalStep: 0 }).loss;
    });
  };

  // With dropout, and with the walk that the adaptive weight takes before.
  it.each([
    ['KL', 'vanilla', kl],
    ['VQ', 'vanilla', vq],
    ['KL', 'linear', kl],
    ['KL', 'none', kl],
  ])('recompute blocks for the same gradients: %s, attention %s', (_, attention, train) => {
    const [kept, recomputed] = [false, true].map((use_checkpoint) => {
      manualSeed(5);
      return train(use_checkpoint, attention);
    });
    const differs = ([name, gradient]: [string, Float32Array]) =>
      Buffer.compare(bytesOf(gradient), bytesOf(recomputed.gradients.get(name)!)) !== 0;
    expect([...kept.gradients].filter(differs).map(([name]) => name)).toEqual([]);
    expect(recomputed.bytes).toBeLessThan(0.65 * kept.bytes);
  });
});

describe('AutoencoderKL', () => {
  it('goes to latents and back', () => {
    const kl = new AutoencoderKL(autoencoderConfig(firstStageParams));
    const { reconstruction, posterior, latents } = kl.forward(randn([2, 16, 12, 3]), { seed: 1 });
    expect(latents.shape).toEqual([2, 8, 6, 3]);
    expect(posterior.kl().shape).toEqual([2]);
    expect(reconstruction.shape).toEqual([2, 16, 12, 3]);
    expect([...kl.namedParameters().keys()].slice(0, 2)).toEqual([
      'encoder.conv_in.weight',
      'encoder.conv_in.bias',
    ]);
  });

  it('needs moments from its encoder', () => {
    const ddconfig = { ...firstStageParams.ddconfig, double_z: false };
    expect(() => new AutoencoderKL(autoencoderConfig({ ...firstStageParams, ddconfig }))).toThrow(
      /doubleZ must be true/,
    );
  });
});

describe('GaussianDiffusion', () => {
  it('trains: the loss of a perfect prediction is zero', async () => {
    const diffusion = new GaussianDiffusion();
    const [x0, noise] = [randn([2, 4, 4, 3]), randn([2, 4, 4, 3])];
    const t = tensor([0, 700], { dtype: 'int64' });
    const { loss, lossVlb } = diffusion.loss(() => noise, x0, t, noise);
    expect([await loss.item(), await lossVlb.item()]).toEqual([0, 0]);
  });
});
