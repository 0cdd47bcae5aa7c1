// `emulsion eval` on networks that were never trained: what its commands write, say and refuse.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import {
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  onTestFinished,
  test,
  vi,
  type MockInstance,
} from 'vitest';
import {
  evalCommand,
  type FolderCommandOptions,
  type ModelCommandOptions,
} from '../../lib/cli/eval.js';
import { compareResults } from '../../lib/cli/eval_compare.js';
import { evaluateReconstructions } from '../../lib/cli/eval_first_stage.js';
import { evaluateFolder, writeReference } from '../../lib/cli/eval_folder.js';
import { evaluateModel } from '../../lib/cli/eval_model.js';
import { tell } from '../../lib/cli/eval_report.js';
import { showNearest } from '../../lib/cli/eval_nearest.js';
import { evaluatePairs } from '../../lib/cli/eval_pairs.js';
import { reconstruct } from '../../lib/cli/reconstruct.js';
import { UsageError } from '../../lib/cli/run.js';
import { samplePictures } from '../../lib/cli/sample_pictures.js';
import { throughput } from '../../lib/cli/throughput_run.js';
import {
  compareFolders,
  FileError,
  formatScore,
  loadEvaluation,
  loadLpips,
  Lpips,
  makeReport,
  manualSeed,
  saveEvaluation,
  saveFirstStage,
  saveLatentDiffusion,
  writeSafetensors,
} from '../../lib/index.js';
import { drawing, drawingFolder, range, writeDrawing } from '../eval/drawings.js';
import { temporaryFolder } from '../io/temporary.js';
import { plainSpec, shaken, tinySpec } from '../ldm/tiny_diffusion.js';
import { asPublished } from '../metrics/narrow_lpips.js';
import { writeRun } from '../report/fixtures.js';
import { emulsion } from './emulsion.js';

const inFolder = temporaryFolder();
const [model, classes, adm, stage] = ['model', 'classes', 'adm', 'stage'].map(inFolder);
const [real, few] = [inFolder('real'), inFolder('few')];
const metric = { extractor: 'emoji', quiet: true } as const;
let said: MockInstance<typeof console.log>;

beforeAll(async () => {
  const network = await shaken(plainSpec({ diffusion: { timesteps: 20 } }));
  await saveLatentDiffusion(model, network);
  await saveFirstStage(stage, network.first_stage_model);
  await saveLatentDiffusion(classes, await shaken(tinySpec()));
  const { unet, ...numbered } = plainSpec({ conditioningKey: 'adm', unconditionalClass: 3 });
  const conditioner = { kind: 'identity' } as const;
  const spec = { ...numbered, unet: { ...unet, numClasses: 4 }, conditioner };
  await saveLatentDiffusion(adm, await shaken(spec));
  await drawingFolder(real, range(0, 40));
  await drawingFolder(few, range(40, 52));
});

beforeEach(() => {
  said = vi.spyOn(console, 'log').mockImplementation(() => undefined);
});
afterEach(() => said.mockRestore());

const output = (): string => said.mock.calls.flat().join('\n');
const bytes = (path: string): Buffer => readFileSync(inFolder(path));

const ofFolder = (path: string, result: string, options: Partial<FolderCommandOptions> = {}) =>
  evaluateFolder(path, {
    ...{ ...metric, reference: real, cache: false, output: inFolder(result), ...options },
  });

const ofModel = (folder: string, options: Partial<ModelCommandOptions> = {}) =>
  evaluateModel({
    ...{ ...metric, model, reference: real, cache: false, count: 10, batch: 4, sampler: 'ddim' },
    ...{ steps: 2, seed: 3, output: inFolder(folder), ...options },
  });

describe('a model', () => {
  test('scores as its pictures do', async () => {
    await ofModel('of-model', { pictures: true });
    await samplePictures({
      ...{ model, count: 10, batch: 4, sampler: 'ddim', steps: 2, seed: 3, quiet: true },
      output: inFolder('sampled'),
    });
    for (const name of readdirSync(inFolder('of-model/pictures')))
      expect(bytes(`of-model/pictures/${name}`).equals(bytes(`sampled/${name}`)), name).toBe(true);
    await ofFolder(inFolder('sampled'), 'sampled.json');
    const [a, b] = [
      await loadEvaluation(inFolder('of-model/result.json')),
      await loadEvaluation(inFolder('sampled.json')),
    ];
    expect(b.scores).toEqual(a.scores);
    const { modelHash, ...known } = a.protocol.sampling!;
    expect(b.protocol).toEqual({ ...a.protocol, sampling: { ...known, modelHash: null } });
    expect(known).toMatchObject({ weights: 'raw', sampler: 'ddim', steps: 2, eta: 0, seed: 3 });
    expect(modelHash).toMatch(/^[0-9a-f]{64}$/);
    expect(output()).toMatch(/FID +\d+\.\d\d\n[\s\S]*emoji do not compare with published numbers/);
    // the same call again makes nothing and says the same
    const result = bytes('of-model/result.json');
    await ofModel('of-model', { pictures: true });
    expect(bytes('of-model/result.json').equals(result)).toBe(true);
  });

  test('is cut to a size as its reference is', async () => {
    await ofModel('cut', { size: 12, pictures: true });
    await ofFolder(inFolder('cut/pictures'), 'cut.json', { size: 12 });
    const [a, b] = [
      await loadEvaluation(inFolder('cut/result.json')),
      await loadEvaluation(inFolder('cut.json')),
    ];
    expect(a.scores).toEqual(b.scores);
    expect(a.protocol.samples.hash).toBe(b.protocol.samples.hash);
    await expect(ofModel('cut', { pictures: true })).rejects.toThrow(/begun with another size:/);
  });

  test('of classes gives as many of each', async () => {
    await ofModel('all', { model: classes, guidance: 2 });
    const { protocol } = await loadEvaluation(inFolder('all/result.json'));
    expect(protocol.samples.classes).toMatchObject({ count: 4, least: 2, most: 3 });
    expect(protocol.sampling).toMatchObject({ guidance: 2 });
    await ofModel('some', { model: classes, class: ['1', '0'], count: 4 });
    expect(
      (await loadEvaluation(inFolder('some/result.json'))).protocol.samples.classes,
    ).toMatchObject({ count: 2, least: 2, most: 2 });
    await ofModel('embedded', { model: adm, guidance: 2, count: 6 });
    expect(
      (await loadEvaluation(inFolder('embedded/result.json'))).protocol.samples.classes,
    ).toMatchObject({ count: 3, least: 2, most: 2 });
  });

  test('killed at any moment goes on to the same bytes', async () => {
    const args = ['eval', 'model', '--model', model, '-n', '70', '--steps', '1', '--seed', '3'];
    const more = ['--extractor', 'emoji', '--reference', real, '--no-cache', '--no-neighbours'];
    const at = inFolder('killed/features/00000000.safetensors');
    const call = [...args, ...more, '-o', inFolder('killed')];
    const killed = await emulsion(call, { signal: 'SIGKILL', at });
    expect(killed.signal).toBe('SIGKILL');
    expect(existsSync(inFolder('killed/result.json'))).toBe(false);
    for (const folder of ['killed', 'whole'])
      await ofModel(folder, { count: 70, steps: 1, neighbours: false });
    expect(bytes('killed/result.json').equals(bytes('whole/result.json'))).toBe(true);
  });

  test('interrupted says how to go on, with 130', async () => {
    const args = ['eval', 'model', '--model', model, '-n', '4000', '--reference', real];
    const more = ['--extractor', 'emoji', '--no-cache', '--steps', '1', '-o', inFolder('stopped')];
    const at = inFolder('stopped/features/00000000.safetensors');
    const { status, stdout, stderr } = await emulsion([...args, ...more], { signal: 'SIGINT', at });
    expect(status).toBe(130);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/features so far are in .*stopped; the same call goes on/);
  });

  test('keeps the result of another reference, or of other scores', async () => {
    await ofModel('results', { neighbours: false });
    const result = bytes('results/result.json');
    await expect(ofModel('results', { reference: few, neighbours: false })).rejects.toThrow(
      /result\.json: is the result of another reference\.count, reference\.hash.*move it away/,
    );
    await expect(ofModel('results')).rejects.toThrow(/of another choice of scores/);
    expect(bytes('results/result.json').equals(result)).toBe(true);
    rmSync(inFolder('results/result.json'));
    await ofModel('results', { reference: few });
    const { protocol } = await loadEvaluation(inFolder('results/result.json'));
    expect(protocol.reference.count).toBe(12);
  });

  test('that takes something else, or options that it has not, is refused', async () => {
    await expect(ofModel('no', { guidance: 3 })).rejects.toThrow(UsageError);
    await expect(ofModel('no', { class: ['1'] })).rejects.toThrow(/not conditioned on classes/);
    await expect(ofModel('no', { steps: 21 })).rejects.toThrow(/20 timesteps/);
    await expect(ofModel('no', { model: classes, class: ['9'] })).rejects.toThrow(UsageError);
    await expect(ofModel('of-model', { seed: 4 })).rejects.toThrow(/begun with another seed/);
    await expect(ofModel('no', { reference: inFolder('nowhere') })).rejects.toThrow(FileError);
    expect(existsSync(inFolder('no/plan.json'))).toBe(false);
  });
});

describe('a folder', () => {
  test('is scored against statistics too, which are written once', async () => {
    const statistics = inFolder('real.npz');
    const told = vi.spyOn(console, 'log').mockImplementation(() => undefined);
    onTestFinished(() => told.mockRestore());
    await writeReference(real, { ...metric, output: statistics, json: true });
    expect(JSON.parse(String(told.mock.calls[0][0]))).toEqual({
      file: statistics,
      pictures: readdirSync(real).length,
    });
    await ofFolder(few, 'pictures.json');
    await ofFolder(few, 'statistics.json', { reference: statistics });
    const [a, b] = [
      await loadEvaluation(inFolder('pictures.json')),
      await loadEvaluation(inFolder('statistics.json')),
    ];
    expect(b.scores).toEqual(a.scores);
    await expect(writeReference(real, { ...metric, output: statistics })).rejects.toThrow(
      /--force/,
    );
    await expect(ofFolder(few, 'pictures.json')).rejects.toThrow(/--force/);
  });

  test('is not scored for a file that cannot be written, and scores are seen whatever comes of theirs', async () => {
    const far = (output: string, force = false) =>
      evaluateFolder(few, { ...metric, reference: real, output, force });
    mkdirSync(inFolder('taken.json'));
    await expect(far(inFolder('taken.json'), true)).rejects.toThrow(
      /taken\.json: is a folder; give/,
    );
    // A folder that takes no files, whoever asks.
    if (existsSync('/proc/self'))
      await expect(far('/proc/self/result.json')).rejects.toThrow(/self: cannot be written into/);
    expect(output()).toBe('');
    const evaluation = await loadEvaluation(inFolder('of-model/result.json'));
    const lost = tell(evaluation, { output: inFolder('nowhere/result.json') });
    await expect(lost).rejects.toThrow(/cannot be written/);
    expect(output()).toMatch(/FID +\d/);
  });

  test('without weights or with superfluous ones says what is needed', async () => {
    await expect(ofFolder(few, 'no.json', { extractor: 'inception' })).rejects.toThrow(
      /--weights pt_inception.*pth/,
    );
    await expect(ofFolder(few, 'no.json', { weights: 'x' })).rejects.toThrow(/leave --weights out/);
    expect(existsSync(inFolder('no.json'))).toBe(false);
  });
});

test('pairs give the means of their distances', async () => {
  const [a, b] = [await drawingFolder(inFolder('a'), [1, 2]), inFolder('b')];
  await drawingFolder(b, [1, 3], (number) => `${number === 3 ? 2 : number}.png`);
  const result = inFolder('pairs.json');
  await evaluatePairs(a, b, { output: result, quiet: true });
  const { scores, protocol } = await loadEvaluation(result);
  const { summary } = await compareFolders(a, b);
  expect(scores).toEqual(summary);
  expect(protocol).toMatchObject({ task: 'pairs', extractor: null, samples: { count: 2 } });
  await drawingFolder(b, [7]);
  await expect(evaluatePairs(a, b, { quiet: true })).rejects.toThrow(/no partner for 7\.png/);
});

test('a first stage is measured as its reconstructions are', async () => {
  const result = inFolder('stage.json');
  await evaluateReconstructions({ ...metric, model: stage, images: few, output: result });
  const { scores, protocol } = await loadEvaluation(result);
  await reconstruct([few], { model: stage, output: inFolder('back'), quiet: true });
  const { summary } = await compareFolders(few, inFolder('back'));
  expect(scores).toMatchObject(summary);
  await ofFolder(inFolder('back'), 'back.json', { reference: few });
  const { fid } = (await loadEvaluation(inFolder('back.json'))).scores;
  // the rows of reconstructions lie in the order of their originals, which sums round by
  expect(Math.abs((scores.fid as number) / (fid as number) - 1)).toBeLessThan(1e-9);
  expect(protocol).toMatchObject({ task: 'first-stage', reference: { count: 12 } });
  expect(protocol.sampling!.modelHash).toMatch(/^[0-9a-f]{64}$/);
});

test('copies of training pictures are found and shown beside each other', async () => {
  const samples = await drawingFolder(inFolder('samples'), [100, 7, 101, 23]);
  const picture = inFolder('nearest.png');
  const options = { ...metric, training: real, output: picture, json: true };
  await showNearest(samples, { ...options, count: 3 });
  const pairs = JSON.parse(output()) as { sample: string; training: string; distance: number }[];
  expect(pairs).toHaveLength(4);
  expect(pairs.slice(0, 2)).toEqual([
    { sample: '23.png', training: '23.png', distance: 0 },
    { sample: '7.png', training: '7.png', distance: 0 },
  ]);
  expect(pairs[2].distance).toBeGreaterThan(0);
  const { width, height } = await sharp(picture).metadata();
  expect([width, height]).toEqual([6 * 18 + 2, 18 + 2]);
  const shown = pairs.slice(0, 3).flatMap(({ sample, training }) => [sample, training]);
  for (const [i, name] of shown.entries()) {
    const cell = { left: 2 + 18 * i, top: 2, width: 16, height: 16 };
    const pixels = await sharp(picture).extract(cell).removeAlpha().raw().toBuffer();
    expect(pixels.equals(drawing(Number.parseInt(name)).data), `cell ${i}, ${name}`).toBe(true);
  }
  await expect(showNearest(samples, { ...options, count: 3 })).rejects.toThrow(/--force/);
  rmSync(picture);
  // What is larger than a screen has room for is shown smaller.
  const large = inFolder('large');
  mkdirSync(large);
  await writeDrawing(join(large, '1.png'), drawing(1, 320, 640));
  await showNearest(large, { ...options, count: 1 });
  expect((await sharp(picture).metadata()).height).toBe(256 + 4);
  rmSync(picture);
  await expect(showNearest(samples, { ...options, count: 513 })).rejects.toThrow(UsageError);
  await expect(
    showNearest(samples, { ...options, count: 1, output: inFolder('x.jpg') }),
  ).rejects.toThrow(/no name of a PNG/);
});

describe('LPIPS with its files', () => {
  let files: { vgg: string; heads: string };
  beforeAll(async () => {
    files = { vgg: inFolder('vgg16.safetensors'), heads: inFolder('heads.safetensors') };
    manualSeed(5);
    const { vgg, heads } = asPublished(new Lpips().exportState());
    await writeSafetensors(files.vgg, vgg);
    await writeSafetensors(files.heads, heads);
  });
  const given = () => ({ lpipsVgg: files.vgg, lpipsHeads: files.heads, quiet: true });
  const measured = async (result: string, reference: string, pictures: string) => {
    const { scores, protocol } = await loadEvaluation(inFolder(result));
    const { summary } = await compareFolders(reference, pictures, {
      lpips: await loadLpips(files),
    });
    expect(scores.lpips).toEqual(summary.lpips);
    expect(summary.lpips!.mean).not.toBe(0);
    expect(protocol.lpips).toMatch(/^[0-9a-f]{64}$/);
  };

  test('is measured of pairs', async () => {
    const [a, b] = ['lpips-a', 'lpips-b'].map(inFolder);
    await drawingFolder(a, [1, 2]);
    await drawingFolder(b, [3, 4], (number) => `${number - 2}.png`);
    await evaluatePairs(a, b, { ...given(), output: inFolder('lpips-pairs.json') });
    await measured('lpips-pairs.json', a, b);
    expect(output()).toMatch(/^LPIPS +-?\d/m);
    await expect(evaluatePairs(a, b, { lpipsVgg: files.vgg, quiet: true })).rejects.toThrow(
      /both --lpips-vgg and --lpips-heads/,
    );
  });

  test('is measured of reconstructions', async () => {
    const [originals, back] = [inFolder('lpips-originals'), inFolder('lpips-back')];
    await drawingFolder(originals, [1, 2]);
    await evaluateReconstructions({
      ...{ ...metric, ...given(), model: stage, images: originals },
      output: inFolder('new/folder/lpips-stage.json'),
    });
    await reconstruct([originals], { model: stage, output: back, quiet: true });
    await measured('new/folder/lpips-stage.json', originals, back);
  });
});

test('a report shows a result beside a run and a measurement of throughput', async () => {
  await ofModel('reported', { count: 4, steps: 1 });
  await throughput({
    ...{ model, sampler: ['ddim'], steps: [1], batch: [2], repeats: 1, seed: 0, quiet: true },
    capture: true,
    output: inFolder('throughput.json'),
  });
  await writeRun(inFolder('run'), 5);
  const page = await makeReport(['reported', 'run', 'throughput.json'].map(inFolder));
  const { scores, protocol } = await loadEvaluation(inFolder('reported/result.json'));
  expect(page).toMatch(/FID ↓/);
  expect(page).toContain(`<td>${formatScore('fid', scores.fid!)}</td>`);
  expect(page).toContain(protocol.sampling!.modelHash);
  for (const title of ['Runs', 'Evaluation', 'Throughput']) expect(page).toContain(`>${title}</a`);
});

test('results side by side, refused when measured by other steps', async () => {
  await ofFolder(few, 'one.json');
  const one = await loadEvaluation(inFolder('one.json'));
  const two = structuredClone(one) as { -readonly [K in keyof typeof one]: (typeof one)[K] };
  two.scores = { ...one.scores, fid: 99.5 };
  await saveEvaluation(inFolder('two.json'), two);
  mkdirSync(inFolder('three'));
  const { protocol } = one;
  two.protocol = { ...protocol, size: 32, samples: { ...protocol.samples, count: 11 } };
  await saveEvaluation(inFolder('three/result.json'), two);
  said.mockClear();
  await compareResults([inFolder('one.json'), inFolder('two.json')], {});
  expect(output()).toMatch(/^ +one +two\nFID +\d+\.\d\d +99\.50\n/);
  const both = ['one.json', 'three/result.json'].map(inFolder);
  await expect(compareResults(both, {})).rejects.toThrow(
    /samples\.count: 12 \(one\), 11 \(three\)\n +size: unknown \(one\), 32 \(three\)\n/,
  );
  await compareResults(both, { vary: ['size', 'samples'], json: true });
  await expect(compareResults(both.slice(1), {})).rejects.toThrow(/at least two/);
  const told = vi.spyOn(console, 'error').mockImplementation(() => undefined);
  onTestFinished(() => {
    told.mockRestore();
    process.exitCode = undefined;
  });
  await evalCommand().parseAsync(['compare', ...both], { from: 'user' });
  expect(process.exitCode).toBe(1);
  expect(told.mock.calls.flat().join()).toMatch(/^emulsion: the results were not measured alike/);
});
