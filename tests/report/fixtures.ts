// Folders and files as the trainer, `sample`, `eval` and `throughput` leave them, with names that bite.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import type { Evaluation, ThroughputFile } from '../../lib/index.js';

/** What must never become part of a page. */
export const hostile = `<script>alert("x")</script>'&`;

/** A run of `lines` measurements with grids of 4 pictures at two of its steps. */
export async function writeRun(folder: string, lines: number, rate = 1): Promise<void> {
  for (const split of ['train', 'val'])
    mkdirSync(join(folder, 'images', split), { recursive: true });
  const measured = Array.from({ length: lines }, (_, i) => {
    const step = 10 * (i + 1);
    const loss = 0.1 + 2 * Math.exp((-rate * i) / (lines / 8)) + 0.05 * Math.sin(7 * i);
    const own = { 'train/diffusion_loss': loss, 'lr/diffusion': 1e-4, 'grad_norm/diffusion': null };
    const rest = { [`train/${hostile}`]: i, images: 16 * step, images_per_second: 50, seconds: i };
    return JSON.stringify({ step, ...own, ...rest });
  });
  const last = 10 * lines;
  measured.push(JSON.stringify({ step: last, 'val/loss': 0.3, 'val/loss_ema': 0.25 }));
  measured.push(JSON.stringify({ step: last, text: `beware of ${hostile}` }), '{"step": 10, "tor');
  writeFileSync(join(folder, 'metrics.jsonl'), measured.join('\n'));
  writeFileSync(
    join(folder, 'config.yaml'),
    `model: {rate: ${rate}, note: ${JSON.stringify(hostile)}}\n`,
  );
  const noise = { type: 'gaussian', mean: 128, sigma: 40 } as const;
  for (const split of ['train', 'val'])
    for (const name of ['samples', 'denoising_row'])
      for (const step of [10, last])
        await sharp({ create: { width: 268, height: 68, channels: 3, background: '#888', noise } })
          .png()
          .toFile(join(folder, 'images', split, `${name}-${String(step).padStart(8, '0')}.png`));
  writeFileSync(join(folder, 'images/val/damaged-00000010.png'), 'no picture');
}

export async function writeSamples(folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  for (let i = 0; i < 3; i++)
    await sharp({ create: { width: 32, height: 32, channels: 3, background: '#c2410c' } })
      .png()
      .toFile(join(folder, `00000${i}.png`));
  const calls = [{ first: 0, count: 3, model: hostile, steps: 50 }];
  writeFileSync(join(folder, 'sampling_config.json'), JSON.stringify(calls));
}

export const measuredThroughput = (): ThroughputFile => ({
  kind: 'emulsion throughput',
  version: 1,
  model: hostile,
  size: [32, 32],
  parameters: 1000,
  guidance: 1,
  decoded: true,
  seed: 0,
  complete: true,
  qualityName: 'FID',
  machine: { processor: hostile, threads: 2, level: 'avx2', device: 'cpu', node: 'v20.15.0' },
  entries: [10, 50].map((steps) => ({
    sampler: 'ddim',
    steps,
    batch: 4,
    seconds: [steps / 10, steps / 9],
    samplesPerSecond: 40 / steps,
    peakBytes: 2 ** 24,
    residentBytes: 2 ** 27,
    quality: 200 / steps,
  })),
});

/** Of so many samples. */
export const evaluation = (count: number): Evaluation => ({
  scores: { fid: 12.5, kid: { mean: 0.01, std: 0.002 }, psnr: Infinity },
  notes: [`few samples ${hostile}`],
  protocol: {
    task: 'sets',
    emulsion: '0.1.0',
    extractor: { name: 'emoji', weights: 'a'.repeat(64), resize: 'clean' },
    size: null,
    reference: { hash: 'b'.repeat(64), count: 100 },
    samples: { hash: 'c'.repeat(64), count, classes: null },
    sampling: null,
    parameters: null,
    lpips: null,
  },
});
