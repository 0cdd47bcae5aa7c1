// Diffusion models between the original's checkpoints, model folders and pipelines of diffusers. Long, since all cases
// convert the same few models.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { expect, test, vi } from 'vitest';
import { convert as convertFile, type ConvertOptions } from '../../lib/cli/convert_checkpoint.js';
import { diffusionModel } from '../../lib/cli/convert_models.js';
import {
  buildLatentDiffusion,
  Ema,
  FileError,
  loadLatentDiffusion,
  noise,
  openCheckpoint,
  openModel,
  readSafetensors,
  SafetensorsFile,
  saveLatentDiffusion,
  tensor,
  tidy,
  type LatentDiffusionSpec,
  type StateReader,
  type Tensor,
  type TensorSource,
} from '../../lib/index.js';
import { bytesOf } from '../../lib/io/tensor_bytes.js';
import { golden, temporaryFolder } from '../io/temporary.js';
import { unetConfigs } from '../ldm/unet/unet_configs.js';
import { printedLines } from './printed.js';

const inFolder = temporaryFolder();
const convert = (input: string, output: string, options: ConvertOptions = {}) =>
  convertFile(input, output, options);

const printed = printedLines();

const ddconfig = {
  ch: 8,
  outCh: 3,
  chMult: [1, 2],
  numResBlocks: 1,
  attnResolutions: [],
  inChannels: 3,
  resolution: 16,
  zChannels: 3,
  doubleZ: false,
  normGroups: 4,
};
const vq = { kind: 'vq-interface', embedDim: 3, nEmbed: 7, ddconfig } as const;
const kl = {
  kind: 'kl',
  embedDim: 4,
  ddconfig: { ...ddconfig, zChannels: 4, doubleZ: true },
} as const;
const diffusion = { linearStart: 0.0015, linearEnd: 0.0195, timesteps: 20 };

const specs = {
  unconditional: { unet: unetConfigs.celeba, firstStage: vq, diffusion },
  'scaled by a measured factor': {
    unet: unetConfigs.churches,
    firstStage: vq,
    diffusion: { ...diffusion, learnLogvar: true },
    scaleByStd: true,
  },
  'super-resolution': {
    unet: { ...unetConfigs.celeba, inChannels: 6 },
    firstStage: vq,
    conditioner: { kind: 'identity' },
    conditioningKey: 'concat',
    diffusion,
  },
  text: {
    unet: unetConfigs.text,
    firstStage: kl,
    conditioner: { kind: 'bert', nEmbed: 12, nLayer: 1, vocabSize: 9, maxSeqLen: 5 },
    conditioningKey: 'crossattn',
    conditionerTrainable: true,
    diffusion,
    scaleFactor: 0.25,
  },
  'encoded text': {
    unet: unetConfigs.text,
    firstStage: kl,
    conditioner: { kind: 'identity' },
    conditioningKey: 'crossattn',
    diffusion: { ...diffusion, parameterization: 'v' },
  },
} as const satisfies Record<string, LatentDiffusionSpec>;

const all = {
  ...specs,
  inpainting: { ...specs['super-resolution'], conditioner: { kind: 'first-stage' } },
};

test.each(Object.entries(all))('%s: tensors are told without building the model', (_, spec) => {
  const model = buildLatentDiffusion(spec as LatentDiffusionSpec);
  const built = [...model.exportState()].map(([key, { shape }]) => [key, [...shape]]);
  const told = diffusionModel(spec as LatentDiffusionSpec).shapes('folder');
  expect(Object.fromEntries(told)).toEqual(Object.fromEntries(built));
  model.dispose();
});

/** Saves a model with random weights as a model folder. */
async function savedModel(name: string, spec: LatentDiffusionSpec): Promise<string> {
  const model = buildLatentDiffusion(spec);
  let stream = 0;
  const random = new Map<string, TensorSource>();
  for (const [key, source] of model.exportState()) {
    const drawn = (scale: number) => () =>
      tidy(() => noise([...source.shape], { seed: 1, stream: stream++ }).mul(scale));
    if (key.includes('diffusion_model')) random.set(key, { ...source, read: drawn(0.2) });
    else if (key === 'scale_factor') random.set(key, { ...source, read: () => tensor(0.5) });
    else random.set(key, source);
  }
  await model.importState(readerOf(random));
  await saveLatentDiffusion(inFolder(name), model);
  model.dispose();
  return inFolder(name);
}

const readerOf = (state: ReadonlyMap<string, TensorSource>): StateReader => ({
  origin: 'memory',
  keys: [...state.keys()],
  has: (key) => state.has(key),
  info: (key) => state.get(key)!,
  get: async (key) => state.get(key)!.read(),
});

const json = (path: string) =>
  JSON.parse(readFileSync(inFolder(path), 'utf8')) as Record<string, unknown>;

async function expectSameTensors(
  a: StateReader,
  b: StateReader,
  wanted: (key: string) => boolean = () => true,
): Promise<void> {
  const keys = a.keys.filter(wanted);
  expect([...b.keys].filter(wanted).sort()).toEqual([...keys].sort());
  for (const key of keys)
    await tidy(async () => {
      expect(a.info(key), key).toEqual(b.info(key));
      const [left, right] = [await bytesOf(await a.get(key)), await bytesOf(await b.get(key))];
      expect(Buffer.compare(left, right), key).toBe(0);
    });
}

const complete = ['unconditional', 'super-resolution', 'encoded text'] as const;

test.each(complete)('%s: to a pipeline and back, bit for bit, and the same model', async (name) => {
  const spec: LatentDiffusionSpec = specs[name];
  const ours = await savedModel(`${name}-ours`, spec);
  await convert(ours, inFolder(`${name}-theirs`), { to: 'diffusers' });
  const folder = name === 'encoded text' ? 'vae' : 'vqvae';
  expect(json(`${name}-theirs/model_index.json`)[folder]).toHaveLength(2);
  const paths = ['unet', folder].map((part) => `${part}/diffusion_pytorch_model.safetensors`);
  for (const path of paths) expect(existsSync(inFolder(`${name}-theirs/${path}`))).toBe(true);

  await convert(inFolder(`${name}-theirs`), inFolder(`${name}-back`));
  const [original, back] = [await openModel(ours), await openModel(inFolder(`${name}-back`))];
  await expectSameTensors(back.weights, original.weights);
  expect(back.config).toMatchObject({ latentDiffusion: { scaleFactor: 1 } });

  const context = spec.unet.contextDim ? noise([1, 3, spec.unet.contextDim], { seed: 3 }) : null;
  const side = 8;
  const run = async (path: string) => {
    const model = await loadLatentDiffusion(path);
    const given = {
      ...(context && { context }),
      ...(spec.conditioningKey === 'concat' && { concat: noise([1, side, side, 3], { seed: 4 }) }),
    };
    const x = noise([1, side, side, spec.unet.outChannels], { seed: 2 });
    const predicted = model.applyModel(x, tensor([7]), given);
    return [...(await model.decode(predicted).data())];
  };
  expect(await run(inFolder(`${name}-back`))).toEqual(await run(ours));
  // and as a checkpoint with the original's keys
  await convert(inFolder(`${name}-theirs`), inFolder(`${name}.safetensors`));
  await expectSameTensors(await readSafetensors(inFolder(`${name}.safetensors`)), original.weights);
});

test('a measured factor comes along as a number; heads as wide at all levels', async () => {
  const ours = await savedModel('measured', specs['scaled by a measured factor']);
  await convert(ours, inFolder('measured-theirs'), { to: 'diffusers' });
  expect(json('measured-theirs/vqvae/config.json').scaling_factor).toBe(0.5);
  expect(printed.at(-1)).toBe('left out: logvar');
  await convert(inFolder('measured-theirs'), inFolder('measured-back'));
  const { config, weights } = await openModel(inFolder('measured-back'));
  expect(config).toMatchObject({ latentDiffusion: { scaleFactor: 0.5 } });
  const shared = (key: string) => !['logvar', 'scale_factor'].includes(key);
  await expectSameTensors(weights, (await openModel(ours)).weights, shared);
});

test("a text encoder's weights are left out; the pipeline asks for its own", async () => {
  const ours = await savedModel('text-ours', specs.text);
  await convert(ours, inFolder('text-theirs'), { to: 'diffusers' });
  expect(printed).toContain(
    'not converted: bert, tokenizer; give them to from_pretrained of diffusers',
  );
  expect(json('text-theirs/model_index.json')).toMatchObject({
    _class_name: 'LDMTextToImagePipeline',
    bert: [null, null],
    vqvae: ['diffusers', 'AutoencoderKL'],
  });
  expect(json('text-theirs/vqvae/config.json').scaling_factor).toBe(0.25);

  // As the published pipelines are: with folders of what encodes text.
  const index = { ...json('text-theirs/model_index.json'), bert: ['x', 'LDMBertModel'] };
  writeFileSync(inFolder('text-theirs/model_index.json'), JSON.stringify(index));
  mkdirSync(inFolder('text-theirs/bert'));
  writeFileSync(inFolder('text-theirs/bert/config.json'), '{"of": "another library"}');
  await convert(inFolder('text-theirs'), inFolder('text-half'), {
    to: 'diffusers',
    dtype: 'float16',
  });
  expect(json('text-half/bert/config.json')).toEqual({ of: 'another library' });
  expect(json('text-half/model_index.json')).toEqual(index);
  expect(json('text-half/scheduler/scheduler_config.json')).toEqual(
    json('text-theirs/scheduler/scheduler_config.json'),
  );
  const half = await readSafetensors(
    inFolder('text-half/unet/diffusion_pytorch_model.safetensors'),
  );
  expect(half.info('conv_in.weight').dtype).toBe('float16');

  const lost = { ...index, tokenizer: ['x', 'BertTokenizer'] };
  writeFileSync(inFolder('text-theirs/model_index.json'), JSON.stringify(lost));
  await expect(
    convert(inFolder('text-theirs'), inFolder('text-lost'), { to: 'diffusers' }),
  ).rejects.toThrow(/tokenizer: no such folder, which model_index\.json names/);
  expect(existsSync(inFolder('text-lost'))).toBe(false);
  writeFileSync(inFolder('text-theirs/model_index.json'), JSON.stringify(index));

  // Older folders have PyTorch's own files.
  const weights = inFolder('text-theirs/unet/diffusion_pytorch_model');
  renameSync(`${weights}.safetensors`, `${weights}.bin`);
  printed.length = 0;
  await convert(inFolder('text-theirs'), inFolder('text-back'));
  expect(printed).toContain(
    'not converted: bert; the model takes the encoded text as its condition',
  );
  const model = await loadLatentDiffusion(inFolder('text-back'));
  expect(model.spec).toMatchObject({ conditioner: { kind: 'identity' }, scaleFactor: 0.25 });
});

test('a pipeline that cannot be read to its end leaves the one that was there, parts and all', async () => {
  const [theirs, output] = [inFolder('torn-theirs'), inFolder('torn')];
  const options = { to: 'diffusers', force: true } as const;
  await convert(await savedModel('torn-ours', specs['encoded text']), theirs, options);
  const part = { 'tokenizer/nested/vocab.txt': 'first', 'text_encoder/config.json': '{}' };
  for (const [name, text] of Object.entries(part)) {
    mkdirSync(dirname(`${theirs}/${name}`), { recursive: true });
    writeFileSync(`${theirs}/${name}`, text);
  }
  const index = { ...json('torn-theirs/model_index.json'), tokenizer: ['x', 'CLIPTokenizer'] };
  writeFileSync(`${theirs}/model_index.json`, JSON.stringify(index));
  await convert(theirs, output, options);
  const content = () =>
    readdirSync(output, { recursive: true, encoding: 'utf8' })
      .filter((name) => statSync(`${output}/${name}`).isFile())
      .map((name) => [name, readFileSync(`${output}/${name}`, 'base64')]);
  const before = content();
  expect(before.map(([name]) => name)).toContain('tokenizer/nested/vocab.txt');

  writeFileSync(`${theirs}/tokenizer/nested/vocab.txt`, 'second');
  const weights = `${theirs}/vae/diffusion_pytorch_model.safetensors`;
  const reading = vi
    .spyOn(SafetensorsFile.prototype, 'get')
    .mockRejectedValueOnce(new FileError('the checksum does not match.', weights));
  await expect(convert(theirs, output, options)).rejects.toThrow('the checksum does not match');
  reading.mockRestore();
  expect(content()).toEqual(before);
  await convert(theirs, output, options);
  expect(readFileSync(`${output}/tokenizer/nested/vocab.txt`, 'utf8')).toBe('second');
});

test("parts of the original's checkpoint, by its configuration or by their prefix", async () => {
  const ours = await savedModel('parts', specs.unconditional);
  const checkpoint = `${ours}/model.safetensors`;
  const config = `${ours}/config.json`;
  await convert(checkpoint, inFolder('parts-whole'), { config, to: 'diffusers' });
  expect(existsSync(inFolder('parts-whole/model_index.json'))).toBe(true);
  await convert(checkpoint, inFolder('parts-unet'), {
    config,
    prefix: 'model.diffusion_model.',
    to: 'diffusers',
  });
  expect(json('parts-unet/config.json')._class_name).toBe('UNet2DModel');
  await convert(inFolder('parts-unet'), inFolder('parts-unet-back'));
  expect((await openModel(inFolder('parts-unet-back'))).config).toEqual({
    unet: unetConfigs.celeba,
  });
  await convert(inFolder('parts-unet-back'), inFolder('parts-unet-again'), { to: 'diffusers' });
  const weights = 'diffusion_pytorch_model.safetensors';
  await expectSameTensors(
    await readSafetensors(inFolder(`parts-unet-again/${weights}`)),
    await readSafetensors(inFolder(`parts-whole/unet/${weights}`)),
  );
  await convert(checkpoint, inFolder('parts-stage'), { config, prefix: 'first_stage_model.' });
  expect((await openModel(inFolder('parts-stage'))).config).toMatchObject({ firstStage: vq });

  await convert(inFolder('parts-unet'), inFolder('dry'), { dryRun: true });
  const qkv = ['q', 'k', 'v'].map((part) => `mid_block.attentions.0.to_${part}.bias`).join(' + ');
  expect(printed).toContain(`${qkv} -> middle_block.1.qkv.bias float32 [72]`);
  expect(existsSync(inFolder('dry'))).toBe(false);
});

test("the original's checkpoint with its YAML, moving average and all", async () => {
  const reference = await readSafetensors(
    golden('checkpoints/ldm_functional_fp16.golden.safetensors'),
  );
  const params = JSON.parse(reference.metadata.get('config')!) as Record<string, unknown>;
  expect(Object.keys(params)).toContain('unet_config');
  const target = 'ldm.models.diffusion.ddpm.LatentDiffusion';
  writeFileSync(inFolder('whole.yaml'), JSON.stringify({ model: { target, params } }));
  const checkpoint = golden('checkpoints/ldm_functional_fp16.ckpt');
  const options = { config: inFolder('whole.yaml'), dtype: 'float32' } as const;
  await convert(checkpoint, inFolder('whole'), options);
  await convert(checkpoint, inFolder('whole-ema'), { ...options, ema: true });
  const [live, average] = ['whole', 'whole-ema'].map((name) => loadLatentDiffusion(inFolder(name)));
  const stored = await openCheckpoint(checkpoint);
  const key = 'model.diffusion_model.input_blocks.0.0.weight';
  for (const [model, name] of [
    [await live, key],
    [await average, 'model_ema.diffusion_modelinput_blocks00weight'],
  ] as const)
    await tidy(async () => {
      const expected = (await stored.get(name)).to('float32');
      const found = (await model.exportState().get(key)!.read()) as Tensor;
      expect([...(await found.data())]).toEqual([...(await expected.data())]);
    });
});

test("a model folder's moving average of the network goes along, or takes its place", async () => {
  const model = buildLatentDiffusion(specs.unconditional);
  const ema = new Ema(model.model.namedParameters());
  await saveLatentDiffusion(inFolder('averaged'), model, { ema });
  await convert(inFolder('averaged'), inFolder('averaged-along'));
  const [source, along] = [
    await openModel(inFolder('averaged')),
    await openModel(inFolder('averaged-along')),
  ];
  await expectSameTensors(along.weights, source.weights);
  await expectSameTensors(along.ema!, source.ema!);
  await convert(inFolder('averaged'), inFolder('averaged-instead'), { to: 'diffusers', ema: true });
  expect(existsSync(inFolder('averaged-instead/model_index.json'))).toBe(true);
});

test('what does not fit is refused before anything is written', async () => {
  const ours = await savedModel('unfit', specs.unconditional);
  await convert(ours, inFolder('unfit-theirs'), { to: 'diffusers' });
  const theirs = inFolder('unfit-theirs');
  const refused = async (message: RegExp, input = theirs, options = {}) => {
    await expect(convert(input, inFolder('none'), options)).rejects.toThrow(message);
    expect(existsSync(inFolder('none'))).toBe(false);
  };
  const change = (path: string, changes: object) => {
    const before = readFileSync(`${theirs}/${path}`, 'utf8');
    writeFileSync(`${theirs}/${path}`, JSON.stringify({ ...JSON.parse(before), ...changes }));
    return () => writeFileSync(`${theirs}/${path}`, before);
  };
  await refused(/hold no moving average/, theirs, { ema: true });
  await refused(/says itself what it is: no --preset/, theirs, { preset: 'celeba256' });
  await refused(/unknown preset 'celeba'\. Known are .*celeba256/, `${ours}/model.safetensors`, {
    preset: 'celeba',
  });
  await refused(/of another network than the spec: model\.diff/, `${ours}/model.safetensors`, {
    preset: 'celeba256',
  });
  const attempts: [string, object, RegExp][] = [
    ['model_index.json', { _class_name: 'XPipeline' }, /model_index\.json: .* Got "XPipeline"/],
    ['model_index.json', { '../x': ['a', 'b'] }, /'\.\.\/x' is no name of a part/],
    ['scheduler/scheduler_config.json', { beta_schedule: 'x' }, /beta_schedule must be one of/],
    ['unet/config.json', { freq_shift: 1 }, /freq_shift must be 0/],
    ['unet/config.json', { layers_per_block: 1 }, /does not fit the configuration \(8\)/],
    ['unet/config.json', { in_channels: 4, out_channels: 4 }, /latents have 3 channels/],
    ['vqvae/config.json', { latent_channels: 4, vq_embed_dim: 4 }, /latents have 4 channels/],
    ['vqvae/config.json', { layers_per_block: 2 }, /is of another network than the spec/],
  ];
  for (const [path, changes, message] of attempts) {
    const restore = change(path, changes);
    await refused(message);
    restore();
  }
  writeFileSync(
    inFolder('other.json'),
    JSON.stringify({
      latentDiffusion: { ...specs.unconditional, diffusion: { ...diffusion, linearEnd: 0.02 } },
    }),
  );
  await refused(/trained with another noise schedule/, `${ours}/model.safetensors`, {
    config: inFolder('other.json'),
    to: 'diffusers',
  });
  await expect(convert(theirs, theirs, { to: 'diffusers', force: true })).rejects.toThrow(
    /would overwrite the input/,
  );
  await convert(theirs, inFolder('fits'));
});
