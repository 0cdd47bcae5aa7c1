import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { convert as convertFile, type ConvertOptions } from '../../lib/cli/convert_checkpoint.js';
import { UsageError } from '../../lib/cli/run.js';
import {
  ArgumentError,
  buildFirstStage,
  FileError,
  loadFirstStage,
  openCheckpoint,
  openModel,
  randn,
  readSafetensors,
  overlay,
  saveFirstStage,
  tensor,
  tidy,
  writeSafetensors,
  type FirstStageSpec,
  type StateReader,
  type TensorSource,
} from '../../lib/index.js';
import { bytesOf } from '../../lib/io/tensor_bytes.js';
import { golden, temporaryFolder } from '../io/temporary.js';
import { root } from '../support/source_tree.js';
import { printedLines } from './printed.js';

const inFolder = temporaryFolder();
const convert = (input: string, output: string, options: ConvertOptions = {}) =>
  convertFile(input, output, options);

const printed = printedLines();

const ddconfig = {
  ch: 8,
  outCh: 3,
  chMult: [1, 2, 2],
  numResBlocks: 1,
  attnResolutions: [16, 8],
  inChannels: 3,
  resolution: 32,
  zChannels: 4,
  doubleZ: true,
  normGroups: 4,
};
const specs: Record<string, FirstStageSpec> = {
  kl: { kind: 'kl', embedDim: 4, ddconfig },
  vq: { kind: 'vq', embedDim: 3, nEmbed: 7, ddconfig: { ...ddconfig, doubleZ: false } },
};

/** Saves a network with random weights as a model folder. */
async function savedModel(name: string, spec: FirstStageSpec): Promise<string> {
  const model = buildFirstStage(spec);
  await saveFirstStage(inFolder(name), model);
  return inFolder(name);
}

async function expectSameTensors(a: StateReader, b: StateReader): Promise<void> {
  expect([...a.keys].sort()).toEqual([...b.keys].sort());
  for (const key of a.keys) {
    expect(a.info(key), key).toEqual(b.info(key));
    const [left, right] = [await a.get(key), await b.get(key)];
    expect(Buffer.compare(await bytesOf(left), await bytesOf(right)), key).toBe(0);
    left.dispose();
    right.dispose();
  }
}

test.each(Object.entries(specs))(
  '%s: to diffusers and back, bit for bit, every tensor once',
  async (name, spec) => {
    const ours = await savedModel(`${name}-ours`, spec);
    await convert(ours, inFolder(`${name}-theirs`), { to: 'diffusers', scaleFactor: 0.5 });
    const theirs = await readSafetensors(
      inFolder(`${name}-theirs/diffusion_pytorch_model.safetensors`),
    );
    const original = await openModel(ours);
    expect(theirs.keys.length).toBe(original.weights.keys.length);
    expect(theirs.info('encoder.mid_block.attentions.0.to_q.weight').shape).toEqual([16, 16]);
    expect(theirs.info('decoder.up_blocks.0.attentions.1.to_out.0.weight').shape).toEqual([16, 16]);
    expect(theirs.info('quant_conv.weight').shape).toHaveLength(4);

    await convert(inFolder(`${name}-theirs`), inFolder(`${name}-back`));
    const back = await openModel(inFolder(`${name}-back`));
    expect(back.config).toEqual({ firstStage: spec, scaleFactor: 0.5 });
    await expectSameTensors(back.weights, original.weights);

    const images = randn([1, 32, 32, 3]);
    const values = async (path: string) => {
      const model = await loadFirstStage(path);
      return [...(await model.decodeLatents(model.encodeToLatents(images)).data())];
    };
    expect(await values(inFolder(`${name}-back`))).toEqual(await values(ours));
  },
);

test("attention under diffusers' former names, as linear layers and as convolutions", async () => {
  const ours = await savedModel('former-ours', specs.kl);
  await convert(ours, inFolder('former'), { to: 'diffusers' });
  const path = inFolder('former/diffusion_pytorch_model.safetensors');
  const present = await readSafetensors(path);
  const names: [string, string][] = [
    ['to_q', 'query'],
    ['to_k', 'key'],
    ['to_v', 'value'],
    ['to_out.0', 'proj_attn'],
  ];
  const former = new Map<string, TensorSource>();
  for (const key of present.keys) {
    const renamed = names.reduce((name, [now, then]) => name.replace(`.${now}.`, `.${then}.`), key);
    const { shape, dtype } = present.info(key);
    const asConvolution = renamed.includes('up_blocks') && renamed.endsWith('.query.weight');
    const written = asConvolution ? [...shape, 1, 1] : shape;
    const read = async () => (await present.get(key)).reshape([...written]);
    former.set(renamed, { shape: written, dtype, read });
  }
  expect([...former.keys()].some((key) => key.endsWith('proj_attn.bias'))).toBe(true);
  await writeSafetensors(path, former);
  await convert(inFolder('former'), inFolder('former-back'));
  await expectSameTensors(
    (await openModel(inFolder('former-back'))).weights,
    (await openModel(ours)).weights,
  );
});

test('the first stage of a diffusion checkpoint, and what latents are multiplied by', async () => {
  const checkpoint = golden('checkpoints/ldm_functional_fp16.ckpt');
  const reference = await readSafetensors(
    golden('checkpoints/ldm_functional_fp16.golden.safetensors'),
  );
  const { first_stage_config } = JSON.parse(reference.metadata.get('config')!) as {
    first_stage_config: unknown;
  };
  const config = inFolder('original.yaml');
  // JSON is YAML; the layout is that of the original's file for a diffusion model
  writeFileSync(config, JSON.stringify({ model: { target: 'x', params: { first_stage_config } } }));
  await convert(checkpoint, inFolder('from-ldm'), { config, dtype: 'float32' });
  const { config: written, weights } = await openModel(inFolder('from-ldm'));
  expect(written).toMatchObject({ scaleFactor: 0.75, firstStage: { kind: 'kl', embedDim: 3 } });
  expect(weights.info('decoder.conv_in.weight').dtype).toBe('float32');
  expect((await loadFirstStage(inFolder('from-ldm'))).latentChannels).toBe(3);
  await expect(convert(checkpoint, inFolder('from-ldm-2'), { config, ema: true })).rejects.toThrow(
    /no moving average of 'first_stage_model\.\*'/,
  );
});

test('a file without a configuration is copied under its own names', async () => {
  const output = inFolder('copy.safetensors');
  await convert(golden('checkpoints/fp16_legacy.ckpt'), output);
  await expectSameTensors(
    await readSafetensors(output),
    await openCheckpoint(golden('checkpoints/fp16_legacy.ckpt')),
  );
  await convert(golden('checkpoints/zip_variant_comment.ckpt'), inFolder('half.safetensors'), {
    dtype: 'bfloat16',
  });
  expect((await readSafetensors(inFolder('half.safetensors'))).info('a').dtype).toBe('bfloat16');
});

test("the moving average under the original's names without dots", async () => {
  const input = inFolder('averaged.safetensors');
  await writeSafetensors(input, {
    'model.out.2.weight': tensor([1, 2]),
    'model_ema.out2weight': tensor([3, 4]),
    'model_ema.decay': tensor(0.9999),
    betas: tensor([5]),
  });
  await convert(input, inFolder('average.safetensors'), { ema: true });
  const result = await readSafetensors(inFolder('average.safetensors'));
  expect([...result.keys].sort()).toEqual(['betas', 'model.out.2.weight']);
  expect([...(await (await result.get('model.out.2.weight')).data())]).toEqual([3, 4]);
  const without = golden('checkpoints/zip_variants.safetensors');
  await expect(convert(without, inFolder('none.safetensors'), { ema: true })).rejects.toThrow(
    /no moving average/,
  );
});

test("a model folder's moving average goes along, or takes the place of the weights", async () => {
  const spec = { ...specs.vq, codebookEma: {} } as FirstStageSpec;
  const model = buildFirstStage(spec);
  const trained = new Set([...model.namedParameters()].map(([key]) => key));
  const average = new Map<string, TensorSource>();
  for (const [key, source] of model.exportState()) {
    // Buffers have no average: they come from the weights.
    if (!trained.has(key)) continue;
    const read = () => tidy(async () => (await source.read()).add(1));
    average.set(key, { ...source, read });
  }
  await saveFirstStage(inFolder('with-ema'), model, { ema: average });
  const source = await openModel(inFolder('with-ema'));
  expect(source.weights.keys.length).toBeGreaterThan(source.ema!.keys.length);
  const expected = overlay(source.ema!, source.weights);
  await convert(inFolder('with-ema'), inFolder('along'));
  const along = await openModel(inFolder('along'));
  await expectSameTensors(along.weights, source.weights);
  await expectSameTensors(along.ema!, expected);
  await convert(inFolder('with-ema'), inFolder('instead'), { ema: true });
  const instead = await openModel(inFolder('instead'));
  expect(instead.ema).toBeNull();
  await expectSameTensors(instead.weights, expected);
  await expect(convert(inFolder('with-ema'), inFolder('x'), { to: 'diffusers' })).rejects.toThrow(
    /no counterpart of codebookEma/,
  );
});

test("a model folder's class names and tokenizer go along, or are told of", async () => {
  const ours = await savedModel('companions', specs.kl);
  for (const name of ['classes.txt', 'tokenizer.json']) writeFileSync(join(ours, name), name);
  await convert(ours, inFolder('companions-along'), { dtype: 'bfloat16' });
  for (const name of ['classes.txt', 'tokenizer.json'])
    expect(readFileSync(join(inFolder('companions-along'), name), 'utf8')).toBe(name);
  mkdirSync(inFolder('companions-taken'));
  writeFileSync(inFolder('companions-taken/classes.txt'), 'mine');
  await expect(convert(ours, inFolder('companions-taken'))).rejects.toThrow(
    /classes\.txt: exists already/,
  );
  expect(readdirSync(inFolder('companions-taken'))).toEqual(['classes.txt']);
  await convert(ours, inFolder('companions.safetensors'));
  expect(printed.at(-1)).toMatch(
    /^not converted: .*classes\.txt, .*tokenizer\.json; only model folders hold them$/,
  );
  // Those of the model that was there would be read as the new one's.
  const bare = await savedModel('no-companions', specs.kl);
  await expect(convert(bare, inFolder('companions-taken'))).rejects.toThrow(
    /classes\.txt: exists already; --force/,
  );
  await convert(bare, inFolder('companions-along'), { force: true });
  expect(readdirSync(inFolder('companions-along')).sort()).toEqual(readdirSync(bare).sort());
});

test('a dry run tells the mapping and writes nothing', async () => {
  const ours = await savedModel('dry-ours', specs.kl);
  await convert(ours, inFolder('dry'), { to: 'diffusers', dryRun: true });
  expect(printed).toContain(
    'decoder.mid.attn_1.q.weight -> decoder.mid_block.attentions.0.to_q.weight float32 [16, 16]',
  );
  expect(printed.at(-1)).toMatch(/tensors, [\d,]+ values; nothing was written/);
  expect(existsSync(inFolder('dry'))).toBe(false);
});

test('--json tells files, mapping and what was left out as one value', async () => {
  const ours = await savedModel('json-ours', specs.kl);
  await convert(ours, inFolder('json'), { to: 'diffusers', json: true });
  const files = ['config.json', 'diffusion_pytorch_model.safetensors'];
  const told = JSON.parse(printed.join('\n')) as { files: string[]; tensors: object[] };
  expect([...told.files].sort()).toEqual(files.map((name) => join(inFolder('json'), name)));
  expect(told.tensors).toContainEqual({
    from: ['decoder.mid.attn_1.q.weight'],
    to: 'decoder.mid_block.attentions.0.to_q.weight',
    dtype: 'float32',
    shape: [16, 16],
  });
  expect(told).toMatchObject({ leftOut: [], notes: [] });
});

test('nothing is overwritten unless forced, and never the input', async () => {
  const ours = await savedModel('kept-ours', specs.kl);
  const output = inFolder('kept.safetensors');
  writeFileSync(output, 'precious');
  await expect(convert(ours, output)).rejects.toThrow(/exists already; --force overwrites it/);
  // A folder's moving average is a file of its own: it would go, or be replaced.
  mkdirSync(inFolder('kept-average'));
  const average = join(inFolder('kept-average'), 'model_ema.safetensors');
  writeFileSync(average, 'precious');
  await expect(convert(ours, inFolder('kept-average'), { to: 'folder' })).rejects.toThrow(
    /model_ema.*exists already; --force overwrites it/,
  );
  expect(readFileSync(average, 'utf8')).toBe('precious');
  expect(readFileSync(output, 'utf8')).toBe('precious');
  await convert(ours, output, { force: true });
  await expectSameTensors(await readSafetensors(output), (await openModel(ours)).weights);
  await expect(convert(output, output, { force: true })).rejects.toThrow(UsageError);
  await expect(convert(ours, ours, { force: true })).rejects.toThrow(/would overwrite the input/);
});

test('what does not fit is refused before anything is written', async () => {
  const ours = await savedModel('unfit-ours', specs.kl);
  const weights = `${ours}/model.safetensors`;
  const refused = async (input: string, options: ConvertOptions, message: RegExp) => {
    const result = convert(input, inFolder('unfit'), options);
    await expect(result).rejects.toThrow(message);
    expect(existsSync(inFolder('unfit'))).toBe(false);
  };
  await refused(weights, {}, /name the architecture with --preset or --config/);
  await refused(weights, { preset: 'kl-f7' }, /unknown preset 'kl-f7'\. Known are .*kl-f8/);
  await refused(weights, { preset: 'kl-f8' }, /is of another network than the spec/);
  await refused(weights, { preset: 'kl-f8', config: 'x' }, /either --preset or --config/);
  await refused(weights, { prefix: 'nothing.' }, /no tensor whose name begins with 'nothing\.'/);
  await refused(ours, { preset: 'kl-f8' }, /says itself what it is: no --preset/);
  await refused(inFolder('nowhere'), {}, /no such file/);
  await refused(golden('checkpoints/bad/pickle_eval.ckpt'), {}, /made by __builtin__\.eval/);
  await expect(convert(ours, inFolder('unfit.ckpt'))).rejects.toThrow(/is read, not written/);

  mkdirSync(inFolder('strange'));
  writeFileSync(inFolder('strange/config.json'), '{"net": {}}');
  await refused(
    inFolder('strange'),
    {},
    /neither a first stage, a U-Net, a diffusion model nor a model of diffusers/,
  );
  writeFileSync(inFolder('strange/config.json'), '{"_class_name": "UNet2DModel"}');
  await expect(convert(inFolder('strange'), inFolder('unfit'))).rejects.toThrow(FileError);

  const incomplete = await readSafetensors(weights);
  const some = new Map<string, TensorSource>(
    incomplete.keys
      .filter((key) => !key.includes('mid.attn_1.k'))
      .map((key) => [key, { ...incomplete.info(key), read: () => incomplete.get(key) }]),
  );
  mkdirSync(inFolder('incomplete'));
  writeFileSync(inFolder('incomplete/config.json'), readFileSync(`${ours}/config.json`));
  await writeSafetensors(inFolder('incomplete/model.safetensors'), some);
  const result = convert(inFolder('incomplete'), inFolder('unfit'));
  await expect(result).rejects.toThrow(ArgumentError);
  await expect(result).rejects.toThrow(/\(4\):\n {2}encoder\.mid\.attn_1\.k\.weight is missing/);
});

test('the command itself: an unknown kind of output is a misuse, a bad file a failure', () => {
  const run = (...args: string[]) =>
    spawnSync(
      process.execPath,
      ['--import', './scripts/typescript.mjs', 'lib/cli/main.ts', 'convert', ...args],
      { cwd: root, encoding: 'utf8' },
    );
  const misuse = run('a', 'b', '--to', 'onnx');
  expect(misuse.status).toBe(2);
  expect(misuse.stderr).toMatch(/Allowed choices are safetensors, folder, diffusers/);
  const failure = run(golden('checkpoints/bad/pickle_eval.ckpt'), inFolder('b.safetensors'));
  expect(failure.status).toBe(1);
  expect(failure.stderr).toMatch(/^emulsion: .*pickle_eval\.ckpt: "w" is made by/);
});

test('what no part of the network uses is told', async () => {
  const ours = await savedModel('more-ours', specs.kl);
  const { weights } = await openModel(ours);
  const more = new Map<string, TensorSource>(
    weights.keys.map((key) => [key, { ...weights.info(key), read: () => weights.get(key) }]),
  );
  for (const key of ['loss.logvar', 'loss.discriminator.main.0.weight', 'extra'])
    more.set(key, { shape: [1], dtype: 'float32', read: () => tensor([0]) });
  await writeSafetensors(inFolder('more.safetensors'), more);
  await convert(inFolder('more.safetensors'), inFolder('more'), { config: `${ours}/config.json` });
  expect(printed.at(-1)).toBe('left out: extra, loss.* (2)');
  expect(readdirSync(inFolder('more')).sort()).toEqual(['config.json', 'model.safetensors']);
});
