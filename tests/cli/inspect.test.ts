// `emulsion inspect`: what it finds in files of PyTorch, and that no file can make it read, hang or misprint.
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { convert } from '../../lib/cli/convert_checkpoint.js';
import { plainOf } from '../../lib/cli/inspect_data.js';
import { inspect, type InspectOptions } from '../../lib/cli/inspect_path.js';
import {
  buildLatentDiffusion,
  FileError,
  full,
  saveLatentDiffusion,
  saveModel,
  SafetensorsFile,
  writeSafetensors,
  type CheckpointMap,
  type CheckpointValue,
  type FirstStageSpec,
} from '../../lib/index.js';
import { golden, temporaryFolder } from '../io/temporary.js';
import { plainSpec } from '../ldm/tiny_diffusion.js';
import { unetConfigs } from '../ldm/unet/unet_configs.js';
import { root } from '../support/source_tree.js';

const inFolder = temporaryFolder();

async function told(path: string, options: Partial<InspectOptions> = {}): Promise<string> {
  const log = vi.spyOn(console, 'log').mockImplementation(() => undefined);
  try {
    await inspect(path, { depth: 3, ...options });
    return log.mock.calls.map(([text]) => String(text)).join('\n');
  } finally {
    log.mockRestore();
  }
}

const json = async (path: string, options: Partial<InspectOptions> = {}) =>
  JSON.parse(await told(path, { ...options, json: true })) as Record<string, unknown>;

test("a checkpoint of PyTorch's is told with what it was trained for", async () => {
  const path = golden('checkpoints/ldm_functional_fp16.ckpt');
  expect(await json(path)).toMatchObject({
    kind: 'checkpoint',
    model: 'latent diffusion model',
    steps: 1234,
    epochs: 3,
    latentScale: 0.75,
    ema: true,
    tensors: 316,
    modules: { first_stage_model: { elements: 217_887, dtypes: ['float16'] } },
  });
  const text = await told(path, { depth: 1 });
  expect(text).toMatch(/trained +1,234 steps/);
  expect(text).toMatch(/\n {2}first_stage_model +217,887 {2}float16\n/);
  expect(text).not.toContain('encoder');
});

test('tensors that cannot be read here are told all the same', async () => {
  const path = golden('checkpoints/tensor_zoo.ckpt');
  const { keys } = await json(path, { keys: true });
  expect(keys).toContainEqual({ key: 'plain', shape: [2, 3], dtype: 'float32' });
  expect(keys).toContainEqual(expect.objectContaining({ shape: null, dtype: null }));
  expect(await told(path, { keys: true })).toMatch(/ {2}plain {2}float32 \[2, 3\]\n/);
});

test.each(readdirSync(golden('checkpoints/bad')))('%s is told or refused', async (name) => {
  const path = golden(`checkpoints/bad/${name}`);
  await told(path, { keys: true }).catch((error: unknown) => {
    expect(error).toBeInstanceOf(FileError);
    expect((error as Error).message).toContain(name);
  });
});

test('no tensor is read but the scale', async () => {
  const path = inFolder('scaled.safetensors');
  await writeSafetensors(path, { scale_factor: full([], 0.5), 'model.weight': full([4, 4], 1) });
  const read = vi.spyOn(SafetensorsFile.prototype, 'get');
  try {
    expect(await json(path, { keys: true })).toMatchObject({ latentScale: 0.5, tensors: 2 });
    expect(read.mock.calls).toEqual([['scale_factor']]);
    await writeSafetensors(path, { scale_factor: full([1000], 0.5) });
    expect(await json(path)).not.toHaveProperty('latentScale');
    expect(read).toHaveBeenCalledTimes(1);
  } finally {
    read.mockRestore();
  }
});

test('names cannot move the cursor, nor dots nest without end', async () => {
  const path = inFolder('names.safetensors');
  const evil = '\u001b[2J\u0007\u202e';
  const names = [`a.${evil}.w`, '__proto__.x.w', 'constructor.w', '.'.repeat(20_000)];
  await writeSafetensors(path, Object.fromEntries(names.map((name) => [name, full([1], 0)])));
  const text = await told(path, { keys: true, depth: 4 });
  expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/);
  expect(text).toContain('\\u001b[2J\\u0007\\u202e');
  expect(text).toMatch(/\n {2}__proto__ +1 {2}float32\n {4}x +1 {2}float32\n/);
  expect(await json(path)).toMatchObject({ tensors: 4 });
});

describe('plain data', () => {
  test('is told as JSON', () => {
    const value: CheckpointValue = new Map<CheckpointValue, CheckpointValue>([
      ['lr', 1e-4],
      ['steps', 2n ** 60n],
      [3, [true, null, NaN, new Uint8Array(7)]],
      ['__proto__', 'x'],
    ]);
    expect(JSON.stringify(plainOf(value))).toBe(
      '{"3":[true,null,"NaN","7 bytes"],"lr":0.0001,"steps":"1152921504606846976","__proto__":"x"}',
    );
  });

  test('is bounded, however it shares or contains itself', () => {
    let shared: CheckpointValue = ['x'];
    for (let i = 0; i < 60; ++i) shared = [shared, shared];
    expect(JSON.stringify(plainOf(shared)).length).toBeLessThan(100_000);
    const own: CheckpointMap = new Map();
    own.set('self', own);
    expect(JSON.stringify(plainOf(own))).toContain('"..."');
    expect((plainOf('y'.repeat(1e6)) as string).length).toBeLessThan(1100);
    expect(JSON.stringify(plainOf(new Map([[shared, 1]])))).toBe('{"(a key that is no text)":1}');
  });
});

describe('folders and configurations', () => {
  test("are the original's YAML", async () => {
    expect(await json(join(root, 'configs/latent_diffusion/rdm.yaml'))).toMatchObject({
      kind: 'configuration',
      model: 'ldm.models.diffusion.ddpm.LatentDiffusion',
      latentScale: 0.22765929,
      ema: true,
    });
    const first = await told(join(root, 'configs/first_stage/kl-f8.yaml'));
    expect(first).toMatch(/model +ldm\.models\.autoencoder\.AutoencoderKL\n/);
    expect(first).toContain('embed_dim: 4');
  });

  test('tell the model that they describe, though nothing of it is there', async () => {
    const text2img = join(root, 'configs/latent_diffusion/txt2img-1p4B.yaml');
    expect(await json(text2img, { depth: 4 })).toMatchObject({
      ema: false,
      dtype: 'float32',
      parameters: {
        network: 872_300_484,
        'first stage': 83_653_863,
        conditioner: 581_994_042,
      },
      modules: {
        model: { modules: { diffusion_model: { elements: 872_300_484 } } },
        cond_stage_model: { modules: { transformer: { modules: { norm: { elements: 2560 } } } } },
      },
    });
    const text = await told(join(root, 'configs/first_stage/vq-f4.yaml'));
    expect(text).toMatch(/parameters +55,322,782: first stage 55,322,782\n/);
    expect(text).toMatch(/\n {2}encoder +22,337,411 {2}float32\n/);
    const churches = join(root, 'configs/latent_diffusion/lsun_churches256.yaml');
    expect(await told(churches)).toMatch(/latent scale +measured\n/);
  });

  test('tell in which precision will be trained', async () => {
    const yaml = readFileSync(join(root, 'configs/first_stage/kl-f4.yaml'), 'utf8');
    writeFileSync(inFolder('half.yaml'), `${yaml}\nlightning: {trainer: {precision: bf16}}\n`);
    expect(await told(inFolder('half.yaml'))).toMatch(/matrix work +bfloat16\n/);
  });

  test('with something wrong are told with what it is', async () => {
    writeFileSync(inFolder('odd.yaml'), 'model: {target: some.Model, params: {a: [1, 2]}}');
    const text = await told(inFolder('odd.yaml'));
    expect(text).toMatch(/problem +.*odd\.yaml.*'some\.Model' is not known as a first stage/);
    writeFileSync(inFolder('broken.yaml'), 'model: [');
    await expect(told(inFolder('broken.yaml'))).rejects.toThrow(/not valid YAML/);
  });

  test("are diffusers'", async () => {
    const folder = inFolder('vae');
    mkdirSync(folder);
    const config = { _class_name: 'AutoencoderKL', scaling_factor: 0.18215 };
    writeFileSync(`${folder}/config.json`, JSON.stringify(config));
    await writeSafetensors(`${folder}/diffusion_pytorch_model.safetensors`, {
      'encoder.mid_block.resnets.0.norm1.weight': full([8], 1),
    });
    expect(await json(folder)).toMatchObject({
      kind: 'folder of diffusers',
      model: 'AutoencoderKL',
      latentScale: 0.18215,
      hyperParameters: config,
    });
  });

  test('are pipelines of diffusers', async () => {
    const { firstStage: kl, diffusion } = plainSpec();
    const { ddconfig } = kl as Extract<FirstStageSpec, { kind: 'kl' }>;
    const firstStage: FirstStageSpec = {
      kind: 'vq-interface',
      embedDim: 3,
      nEmbed: 7,
      ddconfig: { ...ddconfig, doubleZ: false },
    };
    using model = buildLatentDiffusion({ unet: unetConfigs.celeba, firstStage, diffusion });
    await saveLatentDiffusion(inFolder('model'), model);
    const log = vi.spyOn(console, 'log').mockImplementation(() => undefined);
    await convert(inFolder('model'), inFolder('pipeline'), { to: 'diffusers' });
    log.mockRestore();
    expect(await json(inFolder('pipeline'))).toMatchObject({
      kind: 'pipeline of diffusers',
      model: 'LDMPipeline',
      parameters: { network: model.model.parameterCount() },
      modules: { unet: { elements: model.model.parameterCount() }, vqvae: { dtypes: ['float32'] } },
    });
    writeFileSync(inFolder('pipeline/model_index.json'), '{"_class_name": "FluxPipeline"}');
    const text = await told(inFolder('pipeline'));
    expect(text).toMatch(/model +FluxPipeline\n/);
    expect(text).toMatch(/problem +.*model_index\.json: .*FluxPipeline/);
  });

  test("are the original's, a checkpoint beside its configuration", async () => {
    const folder = inFolder('celeba256');
    mkdirSync(folder);
    copyFileSync(golden('checkpoints/ldm_functional_fp16.ckpt'), `${folder}/model.ckpt`);
    copyFileSync(join(root, 'configs/latent_diffusion/celeba256.yaml'), `${folder}/config.yaml`);
    expect(await json(folder)).toMatchObject({
      kind: 'folder of the original',
      model: 'ldm.models.diffusion.ddpm.LatentDiffusion',
      parameters: { network: 274_056_163 },
      steps: 1234,
      latentScale: 0.75,
      ema: true,
      tensors: 316,
      hyperParameters: { params: { monitor: 'val/loss' } },
    });
  });

  test('may hold anything else', async () => {
    await saveModel(inFolder('other'), { config: [1], weights: new Map([['w', full([2], 1)]]) });
    expect(await json(inFolder('other'))).toMatchObject({ kind: 'model folder', ema: false });
    const nested = (depth: number) => '[{"a":'.repeat(depth) + '1' + '}]'.repeat(depth);
    writeFileSync(inFolder('other/config.json'), nested(500));
    expect(await told(inFolder('other'))).toContain('...');
    writeFileSync(inFolder('other/config.json'), nested(50_000));
    await expect(told(inFolder('other'))).rejects.toThrow(FileError);
    mkdirSync(inFolder('empty'));
    await expect(told(inFolder('empty'))).rejects.toThrow(/neither a model.*nor a run/);
    await expect(told(inFolder('nowhere'))).rejects.toThrow(/cannot be read/);
    mkdirSync(inFolder('begun/checkpoints'), { recursive: true });
    expect(await told(inFolder('begun'))).toMatch(/saved states +none\n +finished +no/);
  });
});
