// The demo's two trainings, made tiny: an interruption or a kill and a second start change nothing, and
// the same seed draws the same pictures.
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadEmoji, type EmojiSet } from '../../examples/demo/emoji.js';
import { loadAutoencoder, loadDiffusion, save } from '../../examples/demo/models.js';
import { MetricsFile, type Measurement } from '../../examples/demo/progress.js';
import { samplePictures } from '../../examples/demo/sampling.js';
import type { Run } from '../../examples/demo/stages.js';
import { defaultDevice, readImage, tidy, type Module } from '../../lib/index.js';
import { checkSettings } from '../../examples/demo/settings.js';
import { tinyRun, trainBoth, type TinyModels } from './tiny_demo.js';

const root = mkdtempSync(join(tmpdir(), 'emulsion-demo-'));
const folder = (name: string): string => join(root, name);
let set: EmojiSet;
let whole: Run;
let expected: TinyModels;

beforeAll(async () => {
  set = await loadEmoji(checkSettings.pictures);
  whole = tinyRun(folder('whole'), set);
  expected = await trainBoth(whole);
}, 240_000);
afterAll(() => rmSync(root, { recursive: true }));

// Aborts once a stage has measured the given step.
class InterruptingMetrics extends MetricsFile {
  readonly controller = new AbortController();

  constructor(
    path: string,
    private readonly at: { stage: string; step: number },
  ) {
    super(path);
  }

  override append(measurement: Measurement): void {
    super.append(measurement);
    const { stage, step } = measurement;
    if (stage === this.at.stage && step === this.at.step) this.controller.abort();
  }
}

async function interrupted(name: string, stage: string, step: number): Promise<void> {
  const metrics = new InterruptingMetrics(join(folder(name), 'metrics.jsonl'), { stage, step });
  const run = tinyRun(folder(name), set, { metrics, signal: metrics.controller.signal });
  await expect(trainBoth(run)).rejects.toThrow(/abort/i);
}

// Runs the training in a process of its own, which is killed (SIGKILL) once it has measured `last`.
function killed(name: string, last: string): Promise<void> {
  const program = fileURLToPath(new URL('tiny_demo_child.ts', import.meta.url));
  const args = ['--import', './scripts/typescript.mjs', program, folder(name), last];
  const child = spawn(process.execPath, args);
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (text: Buffer) => (said += text.toString()));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (_, signal) => {
      if (signal === 'SIGKILL') resolve();
      else reject(new Error(`the training ended by itself:\n${said}`));
    });
  });
}

/** What an example prints. */
async function program(name: string, args: readonly string[]): Promise<string> {
  const file = fileURLToPath(new URL(`../../examples/${name}`, import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...['--import', './scripts/typescript.mjs', file, ...args],
  ]);
  return stdout;
}

const weights = (model: Module): Promise<[string, Float32Array][]> =>
  Promise.all(
    [...model.namedParameters()].map(
      async ([key, x]) => [key, (await x.data()) as Float32Array] as [string, Float32Array],
    ),
  );

const losses = (run: Run) => run.metrics.read().map(({ stage, step, loss }) => [stage, step, loss]);

async function expectTheSame(run: Run, actual: TinyModels): Promise<void> {
  expect(await weights(actual.autoencoder)).toEqual(await weights(expected.autoencoder));
  expect(await weights(actual.diffusion)).toEqual(await weights(expected.diffusion));
  expect(losses(run)).toEqual(losses(whole));
}

const draw = (models: TinyModels): Promise<Float32Array> =>
  tidy(async () => {
    const wishes = [
      { caption: 'red heart', seed: 1 },
      { category: set.categories[0], seed: 2 },
    ];
    const { diffusion, autoencoder } = models;
    const pictures = await samplePictures(diffusion, autoencoder, wishes, checkSettings.sampling);
    expect(pictures.shape).toEqual([2, 64, 64, 3]);
    return (await pictures.data()) as Float32Array;
  });

describe('the demo', () => {
  it('measures every tenth step of both trainings', () => {
    const steps = [10, 20, 30, 40];
    expect(losses(whole).map(([stage, step]) => [stage, step])).toEqual(
      ['autoencoder', 'diffusion'].flatMap((stage) => steps.map((step) => [stage, step])),
    );
  });

  it('goes on after interruptions as if there had been none', async () => {
    await interrupted('interrupted', 'autoencoder', 20);
    await interrupted('interrupted', 'diffusion', 30);
    const run = tinyRun(folder('interrupted'), set);
    await expectTheSame(run, await trainBoth(run));
  });

  it('goes on after kills as if there had been none, and every file is whole', async () => {
    await killed('killed', 'autoencoder 10');
    await killed('killed', 'autoencoder 30');
    await killed('killed', 'diffusion 20');
    const run = tinyRun(folder('killed'), set);
    await expectTheSame(run, await trainBoth(run));
    // A kill within a save may leave its temporary file, whose name starts with a dot.
    const files = readdirSync(folder('killed')).filter((file) => !file.startsWith('.'));
    expect(files.sort()).toEqual([
      'autoencoder.safetensors',
      'diffusion.safetensors',
      'metrics.jsonl',
    ]);
  });

  it('saves models that draw the same pictures', async () => {
    const pictures = await draw(expected);
    await save(folder('a'), expected.autoencoder);
    await save(folder('d'), expected.diffusion);
    const loaded = {
      autoencoder: await loadAutoencoder(folder('a')),
      diffusion: await loadDiffusion(folder('d')),
    };
    expect(await draw(loaded)).toEqual(pictures);
  });

  it('is a program that leaves pictures, curves, numbers and models for `sample`', async () => {
    const out = folder('program');
    const said = await program('demo/main.ts', ['--check', '--out', out, '--seed', '5']);
    expect(said).toMatch(/40 emoji in \d categories, on /);
    expect(said).toMatch(/autoencoder: \d+\.\d\d dB on \d held-out emoji/);
    expect(readdirSync(out).sort()).toEqual([
      ...['autoencoder', 'captions.png', 'categories.png', 'diffusion', 'losses.png'],
      ...['metrics.jsonl', 'reconstructions.png', 'state', 'summary.json'],
    ]);
    const summary = JSON.parse(readFileSync(join(out, 'summary.json'), 'utf8')) as object;
    expect(summary).toMatchObject({
      psnr: expect.any(Number) as number,
      seconds: {
        autoencoder: expect.any(Number) as number,
        diffusion: expect.any(Number) as number,
      },
      device: defaultDevice().name,
      images: { autoencoder: 80, diffusion: 80 },
      seed: 5,
    });
    // Two of each category, six of each of eight captions; 64 pixels and a border of 2.
    const { categories } = set;
    expect((await readImage(join(out, 'categories.png'))).shape).toEqual([
      ...[2 + 66 * categories.length, 2 + 66 * 2, 3],
    ]);
    expect((await readImage(join(out, 'captions.png'))).shape).toEqual([2 + 66 * 8, 2 + 66 * 6, 3]);
    const again = await program('demo/main.ts', ['--check', '--out', out, '--seed', '5']);
    expect(again).not.toMatch(/images\/s/); // both trainings are done
    const picture = join(out, 'heart.png');
    const options = ['--models', out, '--count', '2', '--steps', '2', '--out', picture];
    await program('sample.ts', ['red heart', ...options]);
    expect((await readImage(picture)).shape).toEqual([68, 2 + 66 * 2, 3]);
  });
});
