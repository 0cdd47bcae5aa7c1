// Checkpoints of whole diffusion models: the original's numbers from the original's file, and our own folders.
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  buildLatentDiffusion,
  diffusionModelTargets,
  Ema,
  loadLatentDiffusion,
  openCheckpoint,
  parseYaml,
  permute,
  readSafetensors,
  saveLatentDiffusion,
  tensor,
  tidy,
  writeSafetensors,
  type LatentDiffusionSpec,
  type SafetensorsFile,
  type StateReader,
  type Tensor,
  type TensorSource,
} from '../../lib/index.js';
import { golden, temporaryFolder } from '../io/temporary.js';
import { tinySpec } from './tiny_diffusion.js';

const inFolder = temporaryFolder();
const checkpoint = golden('checkpoints/ldm_functional_fp16.ckpt');

const nhwc = (x: Tensor): Tensor => permute(x, [0, 2, 3, 1]);
const values = async (x: Tensor): Promise<Float32Array> => (await x.data()) as Float32Array;

/** Tensors of a reader as sources, some renamed or left out. */
function sources(
  reader: StateReader,
  rename: (key: string) => string | null = (key) => key,
): Map<string, TensorSource> {
  const entries = reader.keys.map((key): [string | null, TensorSource] => {
    const { shape, dtype } = reader.info(key);
    return [rename(key), { shape, dtype, read: () => reader.get(key) }];
  });
  return new Map(entries.filter((entry): entry is [string, TensorSource] => entry[0] !== null));
}

describe('a checkpoint of the original', () => {
  let reference: SafetensorsFile;
  let spec: LatentDiffusionSpec;

  beforeAll(async () => {
    reference = await readSafetensors(golden('checkpoints/ldm_functional_fp16.golden.safetensors'));
    const params = reference.metadata.get('config')!;
    const source = `{target: ldm.models.diffusion.ddpm.LatentDiffusion, params: ${params}}`;
    ({ spec } = diffusionModelTargets.read(parseYaml(source, 'golden'), 'model').spec);
  });

  it.each([
    ['ema', undefined],
    ['ema', 'ema'],
    ['live', 'raw'],
  ] as const)('samples and decodes with %s weights (asked for: %s)', async (name, weights) => {
    const model = await loadLatentDiffusion(checkpoint, spec, { weights });
    expect(await model.scale_factor!.item()).toBe(0.75);
    await tidy(async () => {
      const condition = await reference.get('in.class_label');
      const { context } = model.condition(condition);
      const expected = await reference.get(`out.${name}.cond`);
      expect(await values(context as Tensor)).toEqual(await values(expected));
      const { latents, images } = await model.sample({
        condition,
        unconditional: await reference.get('in.uncond_class_label'),
        guidance: 2,
        steps: 5,
        initial: nhwc(await reference.get('in.x_T')),
        decodeBatch: 1,
      });
      for (const [actual, key] of [
        [latents, `out.${name}.z`],
        [images!, `out.${name}.image`],
      ] as const) {
        const wanted = await values(nhwc(await reference.get(key)));
        const scale = Math.max(...wanted.map(Math.abs));
        const worst = (await values(actual)).reduce(
          (most, value, i) => Math.max(most, Math.abs(value - wanted[i])),
          0,
        );
        expect(worst / scale).toBeLessThan(3e-5);
      }
    });
    model.dispose();
  });

  it('loads where its first stage kept what it was trained with', async () => {
    const reader = await openCheckpoint(checkpoint);
    const more = sources(reader);
    const one = { shape: [1], dtype: 'float32', read: async () => tensor([1]) } as const;
    for (const key of ['loss.logvar', 'model_ema.decay', 'model_ema.decoderconv_inweight'])
      more.set(`first_stage_model.${key}`, one);
    const path = inFolder('with_loss.safetensors');
    await writeSafetensors(path, more);
    await reader.close();
    const model = await loadLatentDiffusion(path, spec);
    model.dispose();
  });

  it('lists what is missing, unexpected and mismatched in one error', async () => {
    const path = inFolder('changed.safetensors');
    const held = await openCheckpoint(checkpoint);
    await writeSafetensors(
      path,
      sources(held, (key) =>
        key === 'first_stage_model.quant_conv.bias' || key === 'model_ema.diffusion_modelout2bias'
          ? null
          : key === 'cond_stage_model.embedding.weight'
            ? 'cond_stage_model.table'
            : key,
      ),
    );
    const load = (options = {}) => loadLatentDiffusion(path, spec, options);
    await expect(load()).rejects.toThrow(/Missing keys \(3\)[^]*Unexpected keys \(1\)/);
    await expect(load()).rejects.toThrow('cond_stage_model.table');
    // the weights as they were trained last need no average
    await expect(load({ weights: 'raw' })).rejects.toThrow(/Missing keys \(2\)/);
    const reports: unknown[] = [];
    const model = await load({
      weights: 'raw',
      strict: false,
      onReport: (report: unknown) => reports.push(report),
    });
    expect(reports).toEqual([
      {
        missing: ['first_stage_model.quant_conv.bias', 'cond_stage_model.embedding.weight'],
        unexpected: ['cond_stage_model.table'],
      },
    ]);
    model.dispose();
  });

  it('refuses another noise schedule, another network, and an average that is not there', async () => {
    const load = (changed: Partial<LatentDiffusionSpec>) =>
      loadLatentDiffusion(checkpoint, { ...spec, ...changed });
    const diffusion = { ...spec.diffusion, linearEnd: 0.012 };
    await expect(load({ diffusion })).rejects.toThrow(/another noise schedule[^]*linearEnd/);
    const unet = { ...spec.unet, modelChannels: 64 };
    await expect(load({ unet })).rejects.toThrow(
      /model.diffusion_model.out.2.weight: expected \[3, 64, 3, 3\], got \[3, 32, 3, 3\]/,
    );
    const held = await openCheckpoint(checkpoint);
    const path = inFolder('raw.safetensors');
    await writeSafetensors(
      path,
      sources(held, (key) => (key.startsWith('model_ema.') ? null : key)),
    );
    await expect(loadLatentDiffusion(path, spec, { weights: 'ema' })).rejects.toThrow(
      'holds no moving average',
    );
    await expect(loadLatentDiffusion(path)).rejects.toThrow('give the spec as well');
    (await loadLatentDiffusion(path, spec)).dispose();
  });

  it.each(['ldm_layout.ckpt', 'ldm_layout_legacy.ckpt'])(
    '%s is read as a whole and refused for its shapes',
    async (name) => {
      const load = loadLatentDiffusion(golden(`checkpoints/${name}`), spec);
      await expect(load).rejects.toThrow(/Mismatched \(\d+\):[^]*another configuration/);
    },
  );
});

describe('a folder', () => {
  it('keeps the weights, and their average beside them', async () => {
    const path = inFolder('model');
    const model = buildLatentDiffusion(tinySpec({ scaleByStd: true }));
    const ema = new Ema(model.model.namedParameters(), { decay: 0.5 });
    model.model.diffusion_model.loadStateDict(
      { 'out.2.bias': tensor([1, 2, 3]) },
      { strict: false },
    );
    model.loadStateDict({ scale_factor: tensor(3) }, { strict: false });
    await saveLatentDiffusion(path, model, { ema });
    const [raw, averaged, chosen] = [
      await loadLatentDiffusion(path, undefined, { weights: 'raw' }),
      await loadLatentDiffusion(path, undefined, { weights: 'ema' }),
      await loadLatentDiffusion(path),
    ];
    const biasOf = async ({ model: { diffusion_model: net } }: typeof raw) =>
      Array.from(await values(net.out[2].bias!));
    expect(await biasOf(raw)).toEqual([1, 2, 3]);
    expect(await biasOf(averaged)).toEqual([0, 0, 0]);
    expect(await biasOf(chosen)).toEqual([0, 0, 0]);
    expect(averaged.spec).toEqual(model.spec);
    expect(await averaged.scale_factor!.item()).toBe(3);
    expect([...averaged.stateDict().keys()]).toEqual([...model.stateDict().keys()]);
    const [was, is] = [model, averaged].map((m) => m.first_stage_model.parameters()[0]);
    expect(await values(is)).toEqual(await values(was));
    for (const each of [model, raw, averaged, chosen, ema]) each.dispose();
  });

  it('without an average has none to give', async () => {
    const path = inFolder('plain');
    const model = buildLatentDiffusion(tinySpec());
    await saveLatentDiffusion(path, model);
    model.dispose();
    await expect(loadLatentDiffusion(path, undefined, { weights: 'ema' })).rejects.toThrow(
      'holds no moving average',
    );
    (await loadLatentDiffusion(path)).dispose();
  });

  it('from a stranger is checked before anything is built', async () => {
    const path = inFolder('strange');
    const model = buildLatentDiffusion(tinySpec());
    await saveLatentDiffusion(path, model);
    model.dispose();
    const write = (config: unknown) =>
      writeFile(join(path, 'config.json'), JSON.stringify({ latentDiffusion: config }));
    const spec = tinySpec();
    for (const [changed, key] of [
      [{ modelChannels: 8192 }, 'input_blocks.0.0.weight has the shape'],
      [{ channelMult: [1, 512] }, 'output_blocks'],
      [{ numResBlocks: 64 }, 'output_blocks'],
      [{ transformerDepth: 64 }, 'transformer_blocks.63.attn2.to_k.weight is missing'],
      [{ contextDim: 60_000 }, 'attn2.to_k.weight has the shape'],
    ] as const) {
      await write({ ...spec, unet: { ...spec.unet, ...changed } });
      await expect(loadLatentDiffusion(path)).rejects.toThrow(
        /is of another network than the spec: model.diffusion_model/,
      );
      await expect(loadLatentDiffusion(path)).rejects.toThrow(key);
    }
    await write({ ...spec, conditioner: { ...spec.conditioner, nClasses: 1e7 } });
    await expect(loadLatentDiffusion(path)).rejects.toThrow('cond_stage_model.embedding.weight');
    await write({ ...spec, unet: { ...spec.unet, modelChanels: 8 } });
    await expect(loadLatentDiffusion(path)).rejects.toThrow("Did you mean 'modelChannels'?");
    await write({ ...spec, diffusion: { timesteps: 1e9 } });
    await expect(loadLatentDiffusion(path)).rejects.toThrow('timesteps must be an integer');
    await writeFile(join(path, 'config.json'), '{}');
    await expect(loadLatentDiffusion(path)).rejects.toThrow('describes no diffusion model');
    await rm(path, { recursive: true });
    await expect(loadLatentDiffusion(path)).rejects.toThrow('no such file or folder');
  });
});
