// The seam of all first stages: latents and back, and a folder that holds one.
import { describe, expect, it } from 'vitest';
import type { VQModel, VQModelInterface } from '../../../lib/index.js';
import {
  buildFirstStage,
  loadFirstStage,
  randn,
  saveFirstStage,
  writeSafetensors,
  type FirstStageSpec,
  type Tensor,
} from '../../../lib/index.js';
import { temporaryFolder } from '../../io/temporary.js';

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
    const quantized = vq.encode(images).latents;
    expect(values(latents)).toEqual(values(vq.encodeToPrequant(images)));
    expect(values(asInterface.decode(latents))).toEqual(values(vq.decode(quantized)));
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

  it('says what is missing', async () => {
    const path = inFolder('vq.safetensors');
    await writeSafetensors(path, buildFirstStage(specs.vq).exportState());
    await expect(loadFirstStage(path)).rejects.toThrow(/give the spec/);
    await expect(loadFirstStage(path, specs.kl)).rejects.toThrow(/quantize\.embedding\.weight/);
    await expect(loadFirstStage(inFolder('none'))).rejects.toThrow(/none.*no such file/);
  });
});
