// What super-resolution is trained on:
//   node --import ./scripts/typescript.mjs examples/degradations.ts --out docs/images/degradations.png
// In the first row the picture, then plain downscalings by four; below, what bsrgan_light and bsrgan draw for five seeds.
import { Command } from 'commander';
import sharp from 'sharp';
import { degrade, writeFileAtomic, type DegradationName, type Pixels } from '../lib/index.js';
import { loadEmoji, side } from './demo/emoji.js';

const { out } = new Command('degradations')
  .option('--out <file>', 'PNG to write', 'degradations.png')
  .parse()
  .opts<{ out: string }>();

const across = 4;
const factor = 4;
/** Side of a panel: every pixel of a small picture becomes a square of three. */
const panel = (across * side * 3) / factor;
const gap = 8;

/** Emoji beside each other: fine lines, flat colours and soft shades. */
async function collage(): Promise<Pixels> {
  const { pixels, count } = await loadEmoji(across ** 2 * 8);
  const size = across * side;
  const data = new Uint8Array(size * size * 3);
  for (let i = 0; i < across ** 2; ++i) {
    const picture = Math.floor(((i + 0.5) / across ** 2) * count);
    for (let y = 0; y < side; ++y) {
      const from = (picture * side + y) * side * 3;
      const row = Math.floor(i / across) * side + y;
      data.set(pixels.subarray(from, from + side * 3), (row * across + (i % across)) * side * 3);
    }
  }
  return { data, width: size, height: size, channels: 3 };
}

const shown = ({ data, width, height }: Pixels): Promise<Buffer> =>
  sharp(data, { raw: { width, height, channels: 3 } })
    .resize(panel, panel, { kernel: width < panel ? 'nearest' : 'lanczos3' })
    .png()
    .toBuffer();

const picture = await collage();
const small = async (name: DegradationName, seed = 0) =>
  (await degrade(picture, name, factor, { seed, epoch: 0, index: 0 })).image;

const seeds = [0, 1, 2, 3, 4];
const plain = ['pil_bicubic', 'pil_box', 'cv_bicubic', 'cv_nearest'] as const;
const rows = [
  [picture, ...(await Promise.all(plain.map((name) => small(name))))],
  await Promise.all(seeds.map((seed) => small('bsrgan_light', seed))),
  await Promise.all(seeds.map((seed) => small('bsrgan', seed))),
];
const place = (i: number) => gap + i * (panel + gap);
const panels = rows.flatMap((row, y) =>
  row.map(async (each, x) => ({ input: await shown(each), left: place(x), top: place(y) })),
);
const canvas = { width: place(seeds.length), height: place(rows.length), channels: 3 as const };
const drawn = await sharp({ create: { ...canvas, background: 'white' } })
  .composite(await Promise.all(panels))
  .png({ palette: true })
  .toBuffer();
await writeFileAtomic(out, drawn);
console.log(out);
