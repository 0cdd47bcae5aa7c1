// The seam of all first stages: latents and back, and a folder that holds one.
import { describe, expect, it } from 'vitest';
import {
  autoencoderConfig,
  buildFirstStage,
  FileError,
  loadFirstStage,
  permute,
  randn,
  readSafetensors,
  saveFirstStage,
  saveModel,
  writeSafetensors,
  type FirstStage,
  type FirstStageSpec,
  type OriginalParams,
  type Tensor,
  type VqConfig,
  type VQModel,
  type VQModelInterface,
} from '../../../lib/index.js';
import { golden, temporaryFolder } from '../../io/temporary.js';
import { expectClose } from '../../support/expect_close.js';

const ddconfig = {
  ch: 32,
  outCh: 3,
  chMult: [1, 1, 2],
  numResBlocks: 1,
  inChannels: 3,
  resolution: 16,
  zChannels: 4,
};
const specs: Record<string, FirstStageSpec> = {
  kl: { kind: 'kl', embedDim: 3, ddconfig },
  vq: { kind: 'vq', embedDim: 3, nEmbed: 16, ddconfig },
  'vq-interface': { kind: 'vq-interface', embedDim: 3, nEmbed: 16, ddconfig },
  identity: { kind: 'identity', vqInterface: false },
};

const inFolder = temporaryFolder();
const values = (x: Tensor) => [...(x.dataSync() as Float32Array)];
const randomImages = () => randn([2, 16, 8, 3]);

describe.each(Object.entries(specs))('%s', (name, spec) => {
  it('goes to latents and back', () => {
    const model = buildFirstStage(spec);
    const f = model.downsampling;
    expect(f).toBe(name === 'identity' ? 1 : 4);
    const latents = model.encodeToLatents(randomImages());
    expect(latents.shape).toEqual([2, 16 / f, 8 / f, model.latentChannels]);
    expect(model.decodeLatents(latents).shape).toEqual([2, 16, 8, 3]);
    expect(model.spec).toEqual(spec);
  });

  it('comes back from its folder', async () => {
    const path = inFolder(name);
    const model = buildFirstStage(spec);
    await saveFirstStage(path, model);
    const loaded = await loadFirstStage(path);
    expect(loaded.constructor).toBe(model.constructor);
    expect(loaded.spec).toEqual(spec);
    const images = randomImages();
    expect(values(loaded.encodeToLatents(images))).toEqual(values(model.encodeToLatents(images)));
  });
});

describe('VQ models', () => {
  it('differ in where they quantise', () => {
    const vq = buildFirstStage(specs.vq) as VQModel;
    const asInterface = buildFirstStage(specs['vq-interface']) as VQModelInterface;
    asInterface.loadStateDict(vq.stateDict());
    const images = randomImages();
    const latents = asInterface.encode(images);
    const { latents: quantized, indices } = vq.encode(images);
    expect(values(latents)).toEqual(values(vq.encodeToPrequant(images)));
    expect(values(asInterface.decode(latents))).toEqual(values(vq.decode(quantized)));
    const [N, h, w] = latents.shape;
    const codes = vq.quantize.getCodebookEntry(indices, latents.shape);
    expect(values(vq.decodeCode(indices, [N, h, w]))).toEqual(values(vq.decode(codes)));
    expect(values(asInterface.decode(latents, { forceNotQuantize: true }))).toEqual(
      values(vq.decode(latents)),
    );
  });
});

describe('loadFirstStage', () => {
  it('finds the network among all that a checkpoint holds', async () => {
    const model = buildFirstStage(specs.kl);
    const state = [...model.exportState()];
    const stranger = randn([2]);
    for (const [file, prefix] of Object.entries({
      'alone.safetensors': '',
      'diffusion.safetensors': 'first_stage_model.',
    })) {
      const path = inFolder(file);
      const keys = state.map(([key, source]) => [prefix + key, source] as const);
      const beside = prefix ? 'model.diffusion_model.out.2.bias' : 'loss.logvar';
      await writeSafetensors(path, Object.fromEntries([...keys, [beside, stranger]]));
      const loaded = await loadFirstStage(path, specs.kl);
      const key = 'decoder.conv_out.weight';
      expect(values(loaded.stateDict().get(key)!)).toEqual(values(model.stateDict().get(key)!));
    }
  });

  it("decodes latents as the original does, from a diffusion model's checkpoint", async () => {
    const original = await readSafetensors(
      golden('checkpoints/ldm_functional_fp16.golden.safetensors'),
    );
    const config = JSON.parse(original.metadata.get('config')!) as {
      first_stage_config: { params: OriginalParams };
    };
    const spec: FirstStageSpec = {
      kind: 'kl',
      ...autoencoderConfig(config.first_stage_config.params),
    };
    const model = await loadFirstStage(golden('checkpoints/ldm_functional_fp16.ckpt'), spec);
    const z = permute(await original.get('out.live.z'), [0, 2, 3, 1]); // NCHW → NHWC
    const images = permute(model.decodeLatents(z.div(0.75)), [0, 3, 1, 2]);
    const expected = values(await original.get('out.live.image'));
    expectClose(values(images), expected, {
      dtype: 'float32',
      tolerance: 'matmul',
      reduction: 288,
    });
  });

  it('starts what a spec adds to weights that were trained without it', async () => {
    const path = inFolder('plain.safetensors');
    const plain = buildFirstStage(specs.vq) as VQModel;
    await writeSafetensors(path, plain.exportState());
    const added = { remap: [5, 1], codebookEma: {}, restartDeadCodes: { every: 3 } };
    const spec = { ...(specs.vq as { kind: 'vq' } & VqConfig), ...added };
    const { quantize } = (await loadFirstStage(path, spec)) as VQModel;
    const found = (key: string) => values(quantize.stateDict().get(key)!);
    const codes = values(plain.quantize.embedding.weight);
    expect(found('embedding.weight')).toEqual(codes);
    // Averages that are not the codes' own would throw the codes away.
    expect(found('embedding.embed_avg')).toEqual(codes);
    expect(found('embedding.cluster_size')).toEqual(Array(16).fill(1));
    expect(found('code_uses')).toEqual(Array(16).fill(0));
    expect(Array.from(quantize.used!.dataSync(), Number)).toEqual([5, 1]);
    const cut = new Map([...plain.exportState()].filter(([key]) => key !== 'quant_conv.bias'));
    await writeSafetensors(path, cut);
    await expect(loadFirstStage(path, spec)).rejects.toThrow(/Missing keys.*quant_conv\.bias/s);
  });

  it('says what is missing', async () => {
    const path = inFolder('vq.safetensors');
    await writeSafetensors(path, buildFirstStage(specs.vq).exportState());
    await expect(loadFirstStage(path)).rejects.toThrow(/give the spec/);
    await expect(loadFirstStage(path, specs.kl)).rejects.toThrow(/quantize\.embedding\.weight/);
    await expect(loadFirstStage(inFolder('none'))).rejects.toThrow(/none.*no such file/);
  });
});

describe('a folder from outside', () => {
  const write = async (name: string, config: unknown) => {
    const path = inFolder(name);
    await saveModel(path, { config, weights: buildFirstStage(specs.vq).exportState() });
    return loadFirstStage(path);
  };
  const vq = specs.vq as { ddconfig: object };

  it('needs a configuration that describes a first stage', async () => {
    await expect(write('none', null)).rejects.toThrow(/has no "firstStage"/);
    await expect(write('text', { firstStage: 'vq' })).rejects.toThrow(FileError);
    const misspelt = { firstStage: { ...vq, nEmbedd: 3 } };
    await expect(write('misspelt', misspelt)).rejects.toThrow(
      /config\.json.*Did you mean 'nEmbed'/,
    );
  });

  it('cannot ask for a network larger than its weights', async () => {
    const wide = { ...vq, ddconfig: { ...vq.ddconfig, ch: 65_536 } };
    await expect(write('wide', { firstStage: wide })).rejects.toThrow(
      /another network.*decoder\.up\.0\.block\.1\.conv2\.weight.*\[32, 32, 3, 3\], expected \[65536, 65536, 3, 3\]/,
    );
    const codes = { firstStage: { ...vq, nEmbed: 2 ** 24 } };
    await expect(write('codes', codes)).rejects.toThrow(/quantize\.embedding\.weight.*\[16, 3\]/);
    const deep = { ...vq, ddconfig: { ...vq.ddconfig, numResBlocks: 64 } };
    await expect(write('deep', { firstStage: deep })).rejects.toThrow(/block\.64.*is missing/);
  });

  it('gives its moving average when asked', async () => {
    const path = inFolder('averaged');
    const [model, average] = [buildFirstStage(specs.vq), buildFirstStage(specs.vq)];
    const trained = (key: string) => average.namedParameters().has(key);
    const ema = new Map([...average.exportState()].filter(([key]) => trained(key)));
    await saveFirstStage(path, model, { ema });
    const bias = (each: FirstStage) => values(each.stateDict().get('decoder.conv_out.bias')!);
    expect(bias(await loadFirstStage(path))).toEqual(bias(model));
    expect(bias(await loadFirstStage(path, undefined, { ema: true }))).toEqual(bias(average));
    await saveFirstStage(path, model);
    await expect(loadFirstStage(path, undefined, { ema: true })).rejects.toThrow(
      /no moving average/,
    );
  });

  it('keeps what a codebook remembers', async () => {
    const path = inFolder('codebook');
    const spec: FirstStageSpec = {
      ...(specs.vq as { kind: 'vq' } & VqConfig),
      remap: [5, 1],
      codebookEma: { decay: 0.5 },
      restartDeadCodes: { every: 3 },
    };
    const model = buildFirstStage(spec) as VQModel;
    model.forward(randomImages(), { seed: 1, step: 0 });
    await saveFirstStage(path, model);
    const loaded = await loadFirstStage(path);
    for (const [key, x] of model.quantize.stateDict()) {
      expect([key, values(loaded.stateDict().get(`quantize.${key}`)!)]).toEqual([key, values(x)]);
    }
    expect([...model.quantize.stateDict().keys()].sort()).toEqual([
      'code_uses',
      'embedding.cluster_size',
      'embedding.embed_avg',
      'embedding.weight',
      'used',
    ]);
  });
});
