import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { decode, type DecodeOptions } from '../../lib/cli/decode.js';
import { encode } from '../../lib/cli/encode.js';
import { reconstruct, type ReconstructOptions } from '../../lib/cli/reconstruct.js';
import { UsageError } from '../../lib/cli/run.js';
import {
  buildFirstStage,
  comparePictures,
  encodeTiled,
  firstStagePresets,
  full,
  noise,
  readImage,
  readSafetensors,
  saveFirstStage,
  upsampleNearest2x,
  writeImage,
  writeSafetensors,
  type FirstStage,
  type FirstStageSpec,
  type Tensor,
  type TensorSource,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { root } from '../support/source_tree.js';

const inFolder = temporaryFolder();
const ddconfig = {
  ch: 32,
  outCh: 3,
  chMult: [1, 1],
  numResBlocks: 1,
  attnResolutions: [],
  inChannels: 3,
  resolution: 32,
  zChannels: 3,
};
const kl: FirstStageSpec = { kind: 'kl', ddconfig, embedDim: 3 };
const vq: FirstStageSpec = {
  kind: 'vq',
  ddconfig: { ...ddconfig, doubleZ: false },
  embedDim: 3,
  nEmbed: 32,
};
const model = inFolder('kl');
const photos = inFolder('photos');
const shared = { model, quiet: true };
let network: FirstStage;

beforeAll(async () => {
  network = buildFirstStage(kl).eval() as FirstStage;
  await saveFirstStage(model, network);
  await saveFirstStage(inFolder('vq'), buildFirstStage(vq));
  await saveFirstStage(inFolder('identity'), buildFirstStage({ kind: 'identity' }));
  mkdirSync(photos);
  const picture = (H: number, W: number, seed: number) =>
    upsampleNearest2x(noise([1, H / 2, W / 2, 3], { seed }).clamp(-1, 1));
  await writeImage(`${photos}/one.png`, picture(32, 20, 1));
  await writeImage(`${photos}/two.jpg`, picture(18, 26, 2));
});

function emulsion(...args: string[]) {
  const loader = ['--import', './scripts/typescript.mjs', 'lib/cli/main.ts'];
  return spawnSync(process.execPath, [...loader, ...args], { cwd: root, encoding: 'utf8' });
}

function printed() {
  const log = vi.spyOn(console, 'log').mockImplementation(() => undefined);
  onTestFinished(() => log.mockRestore());
  return () => log.mock.calls.map(([text]) => String(text)).join('\n');
}

const bytes = (path: string) => readFileSync(path);

describe('reconstruct', () => {
  test('writes pictures of the same size and a table of their quality', () => {
    const output = inFolder('table');
    const { status, stdout, stderr } = emulsion(
      ...['reconstruct', '--model', model, photos, '-o', output],
    );
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(readdirSync(output).sort()).toEqual(['one.png', 'two.png']);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^ +PSNR +SSIM$/);
    expect(lines[1]).toMatch(/one\.png +\d+\.\d\d +-?\d\.\d{4}$/);
    expect(lines[2]).toMatch(/two\.jpg +\d+\.\d\d +-?\d\.\d{4}$/);
    expect(lines[3]).toMatch(/^mean ± std +\d+\.\d\d ± \d+\.\d\d +-?\d\.\d\d ± \d\.\d\d$/);
  });

  test('prints JSON whose numbers are those of the files', async () => {
    const print = printed();
    const output = inFolder('json');
    await reconstruct([`${photos}/two.jpg`], { ...shared, output, json: true });
    const { pictures, summary } = JSON.parse(print()) as {
      pictures: Record<string, unknown>[];
      summary: Record<string, unknown>;
    };
    const quality = await comparePictures(`${photos}/two.jpg`, `${output}/two.png`);
    expect(pictures).toEqual([
      { input: `${photos}/two.jpg`, output: `${output}/two.png`, ...quality },
    ]);
    expect(summary).toEqual({
      psnr: { mean: quality.psnr, std: 0 },
      ssim: { mean: quality.ssim, std: 0 },
    });
    expect((await readImage(`${output}/two.png`)).shape).toEqual([18, 26, 3]);
  });

  test('the identity loses nothing, in tiles or whole', async () => {
    for (const tile of [undefined, 7, false] as const) {
      const print = printed();
      const output = inFolder(`identity-${tile}`);
      const options = { model: inFolder('identity'), output, tile, json: true, overlap: 3 };
      await reconstruct([photos], { ...options, quiet: true });
      expect(print()).toContain('"psnr": null');
      const [a, b] = [`${photos}/one.png`, `${output}/one.png`];
      expect((await comparePictures(a, b)).psnr).toBe(Infinity);
    }
  });

  test('a VQ model works as well', async () => {
    const output = inFolder('of-vq');
    await reconstruct([photos], { model: inFolder('vq'), output, quiet: true, tile: 8 });
    expect(readdirSync(output).sort()).toEqual(['one.png', 'two.png']);
  });

  test('never overwrites without --force, and an input never at all', async () => {
    const output = inFolder('kept');
    mkdirSync(output);
    writeFileSync(`${output}/two.png`, 'precious');
    const again = () => reconstruct([photos], { ...shared, output });
    await expect(again()).rejects.toThrow(/two\.png: exists already; --force overwrites it/);
    expect(readdirSync(output)).toEqual(['two.png']);
    await reconstruct([photos], { ...shared, output, force: true });
    expect((await readImage(`${output}/two.png`)).shape).toEqual([18, 26, 3]);

    const before = bytes(`${photos}/one.png`);
    const onto = reconstruct([photos], { ...shared, output: photos, force: true });
    await expect(onto).rejects.toThrow(UsageError);
    expect(bytes(`${photos}/one.png`)).toEqual(before);
    expect(readdirSync(photos).sort()).toEqual(['one.png', 'two.jpg']);
  });

  test('pictures that cannot be used are named before anything is written', async () => {
    const output = inFolder('refused');
    const options = { ...shared, output };
    await writeImage(inFolder('tiny.png'), full([8, 30, 3], 0));
    writeFileSync(inFolder('text.png'), 'no picture');
    mkdirSync(inFolder('empty'));
    const call = (...inputs: string[]) => reconstruct(inputs, options);
    await expect(call(photos, inFolder('tiny.png'))).rejects.toThrow(
      /tiny\.png: is 30 x 8 pixels; at least 11 x 11/,
    );
    await expect(call(inFolder('text.png'))).rejects.toThrow(/text\.png: cannot be read as a pict/);
    await expect(call(inFolder('none.png'))).rejects.toThrow(/none\.png: cannot be read: there is/);
    await expect(call(inFolder('empty'))).rejects.toThrow(/empty: the folder holds no pictures/);
    await expect(call(photos, `${photos}/one.png`)).rejects.toThrow(/'one\.png' comes twice/);
    const halfLpips = reconstruct([photos], { ...options, lpipsVgg: 'vgg.pth' });
    await expect(halfLpips).rejects.toThrow(/both --lpips-vgg and --lpips-heads/);
    expect(existsSync(output)).toBe(false);
  });
});

describe('encode and decode', () => {
  test('together are reconstruct, and the file says what it holds', async () => {
    const [latents, output] = [inFolder('all.safetensors'), inFolder('decoded')];
    const encoded = emulsion('encode', '--model', model, photos, '-o', latents);
    expect([encoded.status, encoded.stdout, encoded.stderr]).toEqual([0, '', '']);
    const decoded = emulsion('decode', '--model', model, latents, '-o', output);
    expect([decoded.status, decoded.stdout, decoded.stderr]).toEqual([0, '', '']);
    await reconstruct([photos], { ...shared, output: inFolder('direct') });
    for (const name of ['one.png', 'two.png'])
      expect(bytes(`${output}/${name}`)).toEqual(bytes(inFolder(`direct/${name}`)));

    const file = await readSafetensors(latents);
    expect([...file.keys].sort()).toEqual(['one.png', 'two.jpg']);
    expect(file.info('one.png')).toEqual({ shape: [1, 3, 16, 10], dtype: 'float32' });
    expect(Object.fromEntries(file.metadata)).toEqual({
      format: 'pt',
      downsampling: '2',
      scale: '1',
      sizes: '{"one.png":[32,20],"two.jpg":[18,26]}',
    });
  });

  test('tell by --json what they made', async () => {
    const [latents, output] = [inFolder('told.safetensors'), inFolder('told')];
    const print = printed();
    await encode([photos], { ...shared, output: latents, json: true });
    const made = (name: string, shape: number[]) => ({ input: `${photos}/${name}`, name, shape });
    const ofEncode = print();
    expect(JSON.parse(ofEncode)).toEqual({
      file: latents,
      latents: [made('one.png', [1, 3, 16, 10]), made('two.jpg', [1, 3, 9, 13])],
    });
    await decode(latents, { ...shared, output, json: true });
    const ofDecode = print().slice(ofEncode.length);
    const { pictures } = JSON.parse(ofDecode) as { pictures: { name: string }[] };
    expect(pictures.sort((a, b) => a.name.localeCompare(b.name))).toEqual([
      { name: 'one.png', output: `${output}/one.png`, height: 32, width: 20 },
      { name: 'two.jpg', output: `${output}/two.png`, height: 18, width: 26 },
    ]);
  });

  test('samples come from the seed, and each picture has noise of its own', async () => {
    const sampled = async (name: string, seed?: number) => {
      const output = inFolder(`${name}.safetensors`);
      await encode([photos], { ...shared, output, sample: true, seed, tile: 6 });
      return (await (await readSafetensors(output)).get('two.jpg')).data();
    };
    const first = await sampled('a', 3);
    expect(await sampled('b', 3)).toEqual(first);
    expect(await sampled('c', 4)).not.toEqual(first);

    const image = (await readImage(`${photos}/two.jpg`)).reshape([1, 18, 26, 3]);
    const second = { seed: 3, step: 1 }; // the second picture
    const expected = await encodeTiled(network, image, { tile: 6, noise: second });
    const asFile = expected.permute([0, 3, 1, 2]);
    expect(await asFile.data()).toEqual(first);
  });

  test('encode refuses what makes no sense', async () => {
    const output = inFolder('never.safetensors');
    const call = (options: object) => encode([photos], { ...shared, output, ...options });
    await expect(call({ output: inFolder('latents') })).rejects.toThrow(/\.safetensors file/);
    await expect(call({ seed: 1 })).rejects.toThrow(/give --sample as well/);
    await expect(call({ sample: true, model: inFolder('vq') })).rejects.toThrow(/Got vq/);
    writeFileSync(output, 'precious');
    await expect(call({})).rejects.toThrow(/exists already/);
    expect(readFileSync(output, 'utf8')).toBe('precious');
    cpSync(model, inFolder('own'), { recursive: true });
    const weights = inFolder('own/model.safetensors');
    const overwriting = call({ model: inFolder('own'), output: weights, force: true });
    await expect(overwriting).rejects.toThrow(/would overwrite the input/);
    expect(bytes(weights)).toEqual(bytes(`${model}/model.safetensors`));
  });

  test('a picture that turns out damaged leaves no file behind', async () => {
    const cut = inFolder('cut.png');
    const whole = bytes(`${photos}/one.png`);
    writeFileSync(cut, whole.subarray(0, Math.floor(whole.length / 2)));
    const output = inFolder('half.safetensors');
    await expect(encode([photos, cut], { ...shared, output })).rejects.toThrow(/cut\.png/);
    expect(readdirSync(inFolder('.')).filter((name) => name.startsWith('half'))).toEqual([]);
  });

  test("a program's latents decode without metadata, and their scale is undone", async () => {
    const plain = inFolder('plain.safetensors');
    const z = noise([1, 3, 6, 5], { seed: 4 });
    await writeSafetensors(plain, { a: z });
    const scaled = inFolder('scaled.safetensors');
    await writeSafetensors(scaled, { a: z.mul(4) }, { scale: '4' });
    await decode(plain, { ...shared, output: inFolder('plain') });
    await decode(scaled, { ...shared, output: inFolder('scaled') });
    expect((await readImage(inFolder('plain/a.png'))).shape).toEqual([12, 10, 3]);
    expect(bytes(inFolder('scaled/a.png'))).toEqual(bytes(inFolder('plain/a.png')));
  });

  const ofShape = (shape: number[]) => full(shape, 0);
  const bad: [string, Record<string, number[]>, Record<string, string>, RegExp][] = [
    ['leaves the folder', { '../a': [1, 3, 4, 4] }, {}, /"\.\.\/a" cannot be a file's name/],
    ['is a path elsewhere', { 'a\\b': [1, 3, 4, 4] }, {}, /cannot be a file's name/],
    ['is no name', { '..': [1, 3, 4, 4] }, {}, /cannot be a file's name/],
    [
      'has other channels',
      { a: [1, 4, 4, 4] },
      {},
      /'a' must be \[1, 3, h, w\].*Got \[1, 4, 4, 4\]/,
    ],
    ['has no image', { a: [1, 3, 0, 4] }, {}, /must be \[1, 3, h, w\]/],
    ['is no map', { a: [3, 4] }, {}, /must be \[1, 3, h, w\]/],
    ['has another factor', { a: [1, 3, 4, 4] }, { downsampling: '8' }, /8 times smaller/],
    ['has no scale', { a: [1, 3, 4, 4] }, { scale: '0' }, /scale must be a positive number/],
    ['has sizes in words', { a: [1, 3, 4, 4] }, { sizes: 'big' }, /`sizes` must be/],
    ['has a negative size', { a: [1, 3, 4, 4] }, { sizes: '{"a":[-8,8]}' }, /cannot be a picture/],
    ['has another size', { a: [1, 3, 4, 4] }, { sizes: '{"a":[9,8]}' }, /cannot be a picture/],
    ['is empty', {}, {}, /holds no latents/],
    ['names one picture twice', { 'a.png': [1, 3, 4, 4], 'a.jpg': [1, 3, 4, 4] }, {}, /twice/],
  ];
  test.each(bad)('a file that %s is refused', async (_what, shapes, metadata, message) => {
    const path = inFolder('bad.safetensors');
    const tensors = Object.entries(shapes).map(([name, shape]) => [name, ofShape(shape)] as const);
    await writeSafetensors(path, new Map(tensors), metadata);
    const options: DecodeOptions = { ...shared, output: inFolder('bad') };
    await expect(decode(path, options)).rejects.toThrow(message);
    expect(existsSync(inFolder('bad'))).toBe(false);
  });
});

describe('the model', () => {
  const call = (options: Partial<ReconstructOptions> & { model: string }) =>
    reconstruct([photos], { output: inFolder('no-model'), quiet: true, ...options });

  test('is a folder, or a file with a preset', async () => {
    const file = `${model}/model.safetensors`;
    await expect(call({ model: file })).rejects.toThrow(
      /name its architecture with --preset \(kl-/,
    );
    await expect(call({ model: file, preset: 'kl-f9' })).rejects.toThrow(/unknown preset 'kl-f9'/);
    await expect(call({ model, preset: 'kl-f8' })).rejects.toThrow(/model folder.*no --preset/);
    await expect(call({ model: inFolder('nothing') })).rejects.toThrow(/nothing: cannot be read/);
    await expect(call({ model, device: 'gpu' })).rejects.toThrow(/no device 'gpu'; available: cpu/);
    const lpips = { lpipsVgg: inFolder('vgg.pth'), lpipsHeads: inFolder('heads.pth') };
    await expect(call({ model, ...lpips })).rejects.toThrow(/Missing: vgg .*, heads .*LPIPS needs/);
    await expect(call({ model, ema: true })).rejects.toThrow(/holds no moving average/);
    expect(existsSync(inFolder('no-model'))).toBe(false);
  });

  test('in a checkpoint of a whole diffusion model is found by its prefix', async () => {
    const presets = firstStagePresets as Record<string, FirstStageSpec>;
    presets.tiny = kl;
    onTestFinished(() => void delete presets.tiny);
    const own = [...network.exportState()].map(([key, source]) => {
      return [`first_stage_model.${key}`, source] as const;
    });
    const file = inFolder('diffusion.safetensors');
    await writeSafetensors(
      file,
      new Map<string, Tensor | TensorSource>([
        ...own,
        ['model.diffusion_model.out.0.weight', full([4], 1)],
      ]),
    );
    const of = async (name: string, options: { model: string; preset?: string }) => {
      await reconstruct([photos], { ...options, output: inFolder(name), quiet: true });
      return bytes(inFolder(`${name}/one.png`));
    };
    const fromFolder = await of('from-folder', { model });
    expect(await of('from-file', { model: file, preset: 'tiny' })).toEqual(fromFolder);
  });
});

describe('exit codes', () => {
  const output = ['-o', inFolder('exit')];

  test('2 for a call that makes no sense', () => {
    const calls: [string[], RegExp][] = [
      [['doctor', '--colour'], /unknown option '--colour'/],
      [['reconstruct', photos, ...output], /required option '--model <path>' not specified/],
      [['encode', photos, '--model', model, '--tile', '0', ...output], /whole number, at least 1/],
      [['encode', photos, '--model', model, ...output], /^emulsion: the output must be/],
    ];
    for (const [args, message] of calls) {
      const { status, stderr } = emulsion(...args);
      expect(stderr).toMatch(message);
      expect(status).toBe(2);
    }
  });

  test('1 for a failure, in one line', () => {
    const { status, stderr, stdout } = emulsion(
      ...['reconstruct', inFolder('none.png'), '--model', model, ...output],
    );
    expect(stderr).toMatch(/^emulsion: .*none\.png: cannot be read: .*\n$/);
    expect(stdout).toBe('');
    expect(status).toBe(1);
  });

  test('help has examples', () => {
    const { status, stdout } = emulsion('reconstruct', '--help');
    expect(status).toBe(0);
    expect(stdout).toMatch(/Examples:\n {2}emulsion reconstruct --model/);
  });
});
