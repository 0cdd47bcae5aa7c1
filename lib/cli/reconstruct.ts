// `emulsion reconstruct`: pictures through a first stage and back, and what was lost on the way.
import { FileError } from '../errors.js';
import { readImage, writeImage } from '../io/image.js';
import { decodeTiled, encodeTiled, type FirstStage } from '../ldm/first_stage/index.js';
import { comparePictures, summarize, type PictureQuality } from '../metrics/folders.js';
import { formatMeanStd } from '../metrics/mean_std.js';
import { loadLpips, type Lpips } from '../metrics/lpips.js';
import { smallestPicture } from '../metrics/ssim.js';
import { tidy } from '../scope.js';
import {
  openFirstStage,
  PictureProgress,
  tilingOf,
  type SharedOptions,
} from './first_stage_model.js';
import { findPictures, makeFolder, planPngs, type PictureFile } from './picture_files.js';
import { printJson, UsageError } from './run.js';

export interface ReconstructOptions extends SharedOptions {
  lpipsVgg?: string;
  lpipsHeads?: string;
  json?: boolean;
}

type Row = PictureQuality & { input: string; output: string };

/** Writes the reconstructions, then prints a table or JSON of their quality. */
export async function reconstruct(
  inputs: readonly string[],
  options: ReconstructOptions,
): Promise<void> {
  const pictures = await findPictures(inputs);
  const outputs = await planPngs(
    pictures.map(({ name }) => name),
    options.output,
    { force: options.force, inputs: pictures.map(({ path }) => path) },
  );
  const { lpipsVgg: vgg, lpipsHeads: heads } = options;
  if ((vgg === undefined) !== (heads === undefined))
    throw new UsageError('LPIPS needs both --lpips-vgg and --lpips-heads.');
  refuseSmall(pictures, vgg === undefined ? smallestPicture.gaussian : smallestForLpips);
  const model = await openFirstStage(options);
  const lpips =
    vgg !== undefined && heads !== undefined ? await loadLpips({ vgg, heads }) : undefined;
  await makeFolder(options.output);
  const rows = await reconstructAll(pictures, outputs, { model, lpips, options });
  if (options.json) printJson({ pictures: rows, summary: summarize(rows) });
  else if (!options.quiet) console.log(formatTable(rows));
}

// The pools before the last of VGG's features leave nothing of less.
const smallestForLpips = 16;

function refuseSmall(pictures: readonly PictureFile[], least: number): void {
  for (const { path, height, width } of pictures)
    if (Math.min(height, width) < least) {
      const needed = `at least ${least} x ${least} are needed to measure it.`;
      throw new FileError(`is ${width} x ${height} pixels; ${needed}`, path);
    }
}

async function reconstructAll(
  pictures: readonly PictureFile[],
  outputs: readonly string[],
  { model, lpips, options }: { model: FirstStage; lpips?: Lpips; options: ReconstructOptions },
): Promise<Row[]> {
  const progress = new PictureProgress(pictures.length, options);
  const rows: Row[] = [];
  try {
    for (const [i, picture] of pictures.entries()) {
      progress.begin(picture.name);
      const { path, height, width } = picture;
      const tiling = tilingOf(options, model, picture);
      await tidy(async () => {
        const image = (await readImage(path)).reshape([1, height, width, 3]);
        const encoding = { ...tiling, onProgress: progress.tiles('encoding') };
        const latents = await encodeTiled(model, image, encoding);
        const decoding = { ...tiling, onProgress: progress.tiles('decoding') };
        const size = [height, width] as const;
        await writeImage(outputs[i], await decodeTiled(model, latents, { ...decoding, size }));
      });
      const quality = await comparePictures(path, outputs[i], { lpips });
      rows.push({ input: path, output: outputs[i], ...quality });
      progress.end();
    }
  } finally {
    progress.stop();
  }
  return rows;
}

/** One line per picture, and the means as the paper prints them. */
function formatTable(rows: readonly Row[]): string {
  const summary = summarize(rows);
  const metrics = summary.lpips
    ? (['psnr', 'ssim', 'lpips'] as const)
    : (['psnr', 'ssim'] as const);
  const digits = { psnr: 2, ssim: 4, lpips: 4 };
  const lines = [
    ['', ...metrics.map((metric) => metric.toUpperCase())],
    ...rows.map((row) => [row.input, ...metrics.map((m) => row[m]!.toFixed(digits[m]))]),
  ];
  if (rows.length > 1)
    lines.push(['mean ± std', ...metrics.map((metric) => formatMeanStd(summary[metric]!))]);
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  return lines
    .map(([name, ...values]) => {
      const right = values.map((value, i) => value.padStart(widths[i + 1]));
      return [name.padEnd(widths[0]), ...right].join('  ');
    })
    .join('\n');
}
