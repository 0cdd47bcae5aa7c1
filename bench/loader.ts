// Times the loader: pictures per second by number of workers, and how often a consumer of fixed speed waits.
//   node --import ./scripts/typescript.mjs bench/loader.ts [--pixels 256] [--step 50]
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import sharp from 'sharp';
import { DataLoader, ImageFolder } from '../lib/index.js';

const options = new Command('loader')
  .description('Times the image loader.')
  .option('--images <count>', 'different JPEGs to read', Number, 200)
  .option('--pixels <side>', 'smaller side of the JPEGs; batches are 256 x 256', Number, 256)
  .option('--batch <size>', 'pictures per batch', Number, 12)
  .option('--batches <count>', 'batches per measurement', Number, 40)
  .option('--step <ms>', 'what the consumer does with a batch takes this long', Number, 50)
  .option('--workers <counts...>', 'numbers of worker threads', ['0', '1', '2', '4'])
  .parse()
  .opts<{
    images: number;
    pixels: number;
    batch: number;
    batches: number;
    step: number;
    workers: string[];
  }>();

const folder = mkdtempSync(join(tmpdir(), 'emulsion-bench-'));
try {
  await writePictures();
  const { images, pixels, batch, step } = options;
  console.log(
    `${cpus()[0].model.trim()}, ${availableParallelism()} threads, Node ${process.version}\n` +
      `${images} JPEGs of ${pixels} pixels, batches of ${batch}, a consumer of ${step} ms\n`,
  );
  const dataset = await ImageFolder.open(folder);
  console.log('workers  images/s  CPU ms each  consumer needs  waits     mean wait');
  for (const workers of options.workers) await measure(dataset, Number(workers));
} finally {
  rmSync(folder, { recursive: true });
}

async function measure(dataset: ImageFolder, workers: number): Promise<void> {
  const { batch, batches, step } = options;
  const loader = new DataLoader(dataset, {
    batchSize: batch,
    workers,
    transform: { size: 256, randomCrop: true, flip: 0.5 },
  });
  try {
    let [began, used] = [0, process.cpuUsage()];
    let taken = 0;
    for await (const { image } of loader.batches()) {
      image.dispose();
      // The first batches wait for threads to start and code to be compiled.
      if (++taken === 8) [began, used] = [performance.now(), process.cpuUsage()];
      if (taken === 8 + batches) break;
    }
    const rate = (batch * batches) / ((performance.now() - began) / 1000);
    const { user, system } = process.cpuUsage(used);
    const cost = (user + system) / 1000 / (batch * batches);

    const before = { waits: loader.waits, waitMs: loader.waitMs };
    taken = 0;
    for await (const { image } of loader.batches()) {
      await sleep(step);
      image.dispose();
      if (++taken === batches) break;
    }
    const waits = loader.waits - before.waits;
    const mean = waits === 0 ? 0 : (loader.waitMs - before.waitMs) / waits;
    console.log(
      [
        String(workers).padStart(7),
        rate.toFixed(0).padStart(8),
        cost.toFixed(1).padStart(11),
        (batch / (step / 1000)).toFixed(0).padStart(14),
        `${waits} of ${batches - 1}`.padEnd(8),
        `${mean.toFixed(1)} ms`,
      ].join('  '),
    );
  } finally {
    await loader.dispose();
  }
}

// Clouds of several sizes: JPEGs that cost about what photographs cost.
async function writePictures(): Promise<void> {
  const { images, pixels } = options;
  const [height, width] = [pixels, Math.round((pixels * 4) / 3)];
  for (let n = 0; n < images; ++n) {
    const data = new Uint8Array(height * width * 3);
    for (let y = 0, i = 0; y < height; ++y)
      for (let x = 0; x < width; ++x)
        for (let c = 0; c < 3; ++c) {
          const wide = Math.sin((x + 31 * n) / 40 + c) * Math.cos((y - 17 * n) / 30);
          const fine = Math.sin(((x * 7 + n) ^ (y * 3)) / 2 + c);
          data[i++] = 128 + 80 * wide + 30 * fine;
        }
    const jpeg = await sharp(data, { raw: { width, height, channels: 3 } })
      .jpeg({ quality: 90 })
      .toBuffer();
    writeFileSync(join(folder, `${String(n).padStart(4, '0')}.jpg`), jpeg);
  }
}
