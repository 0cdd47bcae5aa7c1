// The demo's two trainings, made tiny: an interruption and a second start change nothing, and the same
// seed draws the same pictures.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadEmoji, type EmojiSet } from '../../examples/demo/emoji.js';
import {
  diffusionConfig,
  loadAutoencoder,
  loadDiffusion,
  save,
} from '../../examples/demo/models.js';
import { MetricsFile, type Measurement } from '../../examples/demo/progress.js';
import { samplePictures } from '../../examples/demo/sampling.js';
import { defaultSettings, type Settings } from '../../examples/demo/settings.js';
import { trainAutoencoder, trainDiffusion, type Run } from '../../examples/demo/stages.js';
import { WordTokenizer } from '../../examples/demo/words.js';
import { tidy, type Module } from '../../lib/index.js';

const short = { batch: 2, steps: 40, warmup: 4 };
const settings: Settings = {
  pictures: 40,
  autoencoder: { ...defaultSettings.autoencoder, ...short, channels: 8 },
  diffusion: { ...defaultSettings.diffusion, ...short, channels: 32, multipliers: [1, 2] },
  sampling: { steps: 4, guidance: 2, perCategory: 1 },
};

const folder = mkdtempSync(join(tmpdir(), 'emulsion-demo-'));
let set: EmojiSet;
beforeAll(async () => void (set = await loadEmoji(settings.pictures)));
afterAll(() => rmSync(folder, { recursive: true }));

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

function makeRun(name: string, metrics: (path: string) => MetricsFile, signal: AbortSignal): Run {
  mkdirSync(join(folder, name), { recursive: true });
  const path = (file: string) => join(folder, name, file);
  return {
    settings,
    seed: 3,
    set,
    metrics: metrics(path('metrics.jsonl')),
    signal,
    statePath: (stage) => path(`${stage}.safetensors`),
  };
}

const plainRun = (name: string): Run =>
  makeRun(name, (path) => new MetricsFile(path), new AbortController().signal);

async function trainBoth(run: Run) {
  const { model: autoencoder } = await trainAutoencoder(run);
  const { words } = WordTokenizer.fromCaptions(set.captions);
  const config = diffusionConfig(settings, set.categories, words);
  const { model: diffusion } = await trainDiffusion(run, autoencoder, config);
  return { autoencoder, diffusion };
}

async function interrupted(name: string, stage: string, step: number): Promise<void> {
  let signal!: AbortSignal;
  const metrics = (path: string): MetricsFile => {
    const file = new InterruptingMetrics(path, { stage, step });
    signal = file.controller.signal;
    return file;
  };
  const file = metrics(join(folder, name, 'metrics.jsonl'));
  await expect(trainBoth(makeRun(name, () => file, signal))).rejects.toThrow(/abort/i);
}

const weights = (model: Module): Promise<[string, Float32Array][]> =>
  Promise.all(
    [...model.namedParameters()].map(
      async ([key, x]) => [key, (await x.data()) as Float32Array] as [string, Float32Array],
    ),
  );

const draw = (models: Awaited<ReturnType<typeof trainBoth>>): Promise<Float32Array> =>
  tidy(async () => {
    const wishes = [
      { caption: 'red heart', seed: 1 },
      { category: set.categories[0], seed: 2 },
    ];
    const { diffusion, autoencoder } = models;
    const pictures = await samplePictures(diffusion, autoencoder, wishes, settings.sampling);
    expect(pictures.shape).toEqual([2, 64, 64, 3]);
    return (await pictures.data()) as Float32Array;
  });

describe('the demo', { timeout: 240_000 }, () => {
  it('goes on after interruptions as if there had been none, and saves models that draw the same', async () => {
    const whole = plainRun('whole');
    const expected = await trainBoth(whole);

    await interrupted('broken', 'autoencoder', 20);
    await interrupted('broken', 'diffusion', 30);
    const resumed = plainRun('broken');
    const actual = await trainBoth(resumed);

    expect(await weights(actual.autoencoder)).toEqual(await weights(expected.autoencoder));
    expect(await weights(actual.diffusion)).toEqual(await weights(expected.diffusion));
    const losses = (run: Run) =>
      run.metrics.read().map(({ stage, step, loss }) => [stage, step, loss]);
    expect(losses(resumed)).toEqual(losses(whole));
    expect(losses(whole)).toHaveLength(8);

    const pictures = await draw(expected);
    await save(join(folder, 'a'), actual.autoencoder);
    await save(join(folder, 'd'), actual.diffusion);
    const loaded = {
      autoencoder: await loadAutoencoder(join(folder, 'a')),
      diffusion: await loadDiffusion(join(folder, 'd')),
    };
    expect(await draw(loaded)).toEqual(pictures);
  });
});
