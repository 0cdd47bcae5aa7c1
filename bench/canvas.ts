// The memory of semantic synthesis against the size of the canvas, on a tiny network that sees 256 x 256 pixels at
// once: node --import ./scripts/typescript.mjs bench/canvas.ts
import { buildLatentDiffusion, defaultDevice, semanticToImage, tidy, zeros } from '../lib/index.js';
import { semanticSpec } from '../tests/ldm/tasks/semantic_spec.js';

const labels = 182; // of the published models
const patch = 64; // in latents of 4 pixels
const model = buildLatentDiffusion({ ...semanticSpec(labels), imageSize: patch }).eval();
const device = defaultDevice();

/** Bytes that one step and the decoder need beyond model and map. */
async function peak(height: number, width: number): Promise<number> {
  const map = zeros([1, height, width], { dtype: 'int32' });
  await device.synchronize();
  const { liveBytes } = device.memoryStats();
  device.resetPeak();
  await tidy(async () => {
    await semanticToImage(model, { map, steps: 1, seed: 1, tiling: { tile: patch } });
    await device.synchronize();
  });
  map.dispose();
  return device.memoryStats().peakBytes - liveBytes;
}

const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);
console.log('canvas       picture (MiB)  peak (MiB)');
for (const [height, width] of [
  [256, 256],
  [512, 512],
  [1024, 1024],
  [512, 1536],
]) {
  const size = `${width} x ${height}`.padEnd(12);
  const picture = mebibytes(4 * 3 * height * width).padStart(13);
  console.log(`${size} ${picture} ${mebibytes(await peak(height, width)).padStart(11)}`);
}
