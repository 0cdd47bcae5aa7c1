// The demo's two trainings, made tiny: what its tests, and the child process that one of them kills, run.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { EmojiSet } from '../../examples/demo/emoji.js';
import { diffusionConfig, type EmojiDiffusion } from '../../examples/demo/models.js';
import { MetricsFile } from '../../examples/demo/progress.js';
import { checkSettings } from '../../examples/demo/settings.js';
import { trainAutoencoder, trainDiffusion, type Run } from '../../examples/demo/stages.js';
import { WordTokenizer } from '../../examples/demo/words.js';
import type { AutoencoderKL } from '../../lib/ldm/index.js';

/** A run that keeps everything in `folder`. */
export function tinyRun(folder: string, set: EmojiSet, options: Partial<Run> = {}): Run {
  mkdirSync(folder, { recursive: true });
  return {
    settings: checkSettings,
    seed: 3,
    set,
    metrics: new MetricsFile(join(folder, 'metrics.jsonl')),
    signal: new AbortController().signal,
    statePath: (stage) => join(folder, `${stage}.safetensors`),
    ...options,
  };
}

export interface TinyModels {
  autoencoder: AutoencoderKL;
  diffusion: EmojiDiffusion;
}

export async function trainBoth(run: Run): Promise<TinyModels> {
  const { model: autoencoder } = await trainAutoencoder(run);
  const { words } = WordTokenizer.fromCaptions(run.set.captions);
  const config = diffusionConfig(run.settings, run.set.categories, words);
  const { model: diffusion } = await trainDiffusion(run, autoencoder, config);
  return { autoencoder, diffusion };
}
