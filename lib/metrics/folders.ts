/** How close pictures in files are: a pair, or two folders of them as the paper's tables report it. */
import { readdir } from 'node:fs/promises';
import { extname, join, parse } from 'node:path';
import { noGrad } from '../autograd/index.js';
import { FileError } from '../errors.js';
import { imageExtensions } from '../io/decode_image.js';
import { fileError } from '../io/file_error.js';
import { readImage } from '../io/image.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';
import type { Lpips } from './lpips.js';
import { meanStd, type MeanStd } from './mean_std.js';
import { psnr } from './psnr.js';
import { ssim, type SsimConvention } from './ssim.js';

export interface CompareOptions {
  /** Also measures the perceptual distance. Default: it is left out. */
  lpips?: Lpips;
  /** Default `gaussian`. */
  convention?: SsimConvention;
}

/** Distances of one picture from its reference. */
export interface PictureQuality {
  /** Decibels; Infinity for equal pictures. */
  psnr: number;
  ssim: number;
  /** Only where a network was given. */
  lpips?: number;
}

/**
 * Mean and deviation of every metric. A pair of equal pictures makes the mean PSNR Infinity and its
 * deviation NaN.
 */
export function summarize(
  pictures: readonly PictureQuality[],
): Record<'psnr' | 'ssim', MeanStd> & { lpips?: MeanStd } {
  const distances = pictures.flatMap(({ lpips }) => (lpips === undefined ? [] : [lpips]));
  return {
    psnr: meanStd(pictures.map((each) => each.psnr)),
    ssim: meanStd(pictures.map((each) => each.ssim)),
    ...(distances.length > 0 ? { lpips: meanStd(distances) } : {}),
  };
}

/**
 * PSNR, SSIM and, with its network, LPIPS of a picture file against another: 8 bits per channel, RGB, no
 * alpha.
 *
 * @throws FileError when a file cannot be read or their sizes differ
 */
export async function comparePictures(
  reference: string,
  picture: string,
  options: CompareOptions = {},
): Promise<PictureQuality> {
  return tidy(async () => {
    const [expected, actual] = [await load(reference), await load(picture)];
    if (String(expected.shape) !== String(actual.shape)) {
      const [got, wanted] = [actual, expected].map(({ shape }) => `${shape[2]} x ${shape[1]}`);
      const text = `is ${got} pixels, but ${reference} is ${wanted}. Only equal sizes compare.`;
      throw new FileError(text, picture);
    }
    return compareImages(expected, actual, options);
  });
}

/**
 * As {@link comparePictures}, of tensors [1, H, W, C] in [-1, 1]. PSNR and SSIM are taken in float64 on the CPU,
 * so that they are the same to the bit wherever the tensors lie.
 */
export function compareImages(
  reference: Tensor,
  picture: Tensor,
  { lpips, convention }: CompareOptions = {},
): Promise<PictureQuality> {
  return tidy(() =>
    noGrad(async () => {
      const [expected, actual] = [reference.to('cpu'), picture.to('cpu')];
      return {
        psnr: await psnr(expected, actual).item(),
        ssim: await ssim(expected, actual, { convention }).item(),
        ...(lpips ? { lpips: await lpips.forward(reference, picture).item() } : {}),
      };
    }),
  );
}

async function load(path: string): Promise<Tensor> {
  const image = await readImage(path); // [H, W, 3]
  return image.reshape([1, ...image.shape]);
}

export interface FolderOptions extends CompareOptions {
  /** Measures the pairs there are instead of refusing folders that do not match. Default false. */
  partial?: boolean;
  /** Called after each pair with the number of measured pairs and of all. */
  onProgress?: (done: number, total: number) => void;
  /** Stops before the next pair; the promise rejects with the signal's reason. */
  signal?: AbortSignal;
}

export interface FolderComparison {
  /** In the order of their names. */
  readonly pictures: readonly (PictureQuality & { readonly name: string })[];
  readonly summary: ReturnType<typeof summarize>;
  /** Names without a partner in the other folder; empty unless `partial` allows them. */
  readonly unmatched: { readonly reference: readonly string[]; readonly folder: readonly string[] };
}

/**
 * Compares the pictures of two folders that bear the same name, whatever their extensions: one pair is in
 * memory at a time.
 *
 * @throws FileError when a folder or picture cannot be read, a picture has no partner (see `partial`), the
 *   sizes of a pair differ, or two pictures of a folder share a name
 */
export async function compareFolders(
  reference: string,
  folder: string,
  options: FolderOptions = {},
): Promise<FolderComparison> {
  const [expected, actual] = [await byName(reference), await byName(folder)];
  const without = (a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>) =>
    [...a].filter(([name]) => !b.has(name)).map(([, file]) => file);
  const unmatched = { reference: without(expected, actual), folder: without(actual, expected) };
  if (!options.partial) {
    refuse(folder, unmatched.reference, reference);
    refuse(reference, unmatched.folder, folder);
  }
  const names = [...expected.keys()].filter((name) => actual.has(name));
  if (names.length === 0) throw new FileError(`shares no picture with ${reference}.`, folder);
  const pictures: (PictureQuality & { name: string })[] = [];
  for (const name of names) {
    options.signal?.throwIfAborted();
    const pair = [join(reference, expected.get(name)!), join(folder, actual.get(name)!)] as const;
    pictures.push({ name, ...(await comparePictures(...pair, options)) });
    options.onProgress?.(pictures.length, names.length);
  }
  return { pictures, summary: summarize(pictures), unmatched };
}

function refuse(folder: string, files: readonly string[], other: string): void {
  if (files.length === 0) return;
  const more = files.length > 5 ? ` and ${files.length - 5} more` : '';
  const named = files.slice(0, 5).join(', ') + more;
  throw new FileError(
    `has no partner for ${named} of ${other}. Add them, or compare with \`partial\`.`,
    folder,
  );
}

/**
 * @internal The names of a folder's files without those that show others once more: grids and drawn layouts, where
 * `emulsion sample` or its like wrote them.
 */
export function withoutOverviews(names: readonly string[]): readonly string[] {
  if (!names.includes('sampling_config.json')) return names;
  return names.filter((name) => !/^(?:grid-\d{6,}|\d{6,}_boxes)\.png$/.test(name));
}

/**
 * File names of the pictures in a folder, sorted; folders below, hidden files and, among samples, grids and drawn
 * layouts are left out.
 */
export async function listPictures(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    throw fileError(folder, 'cannot be read', error);
  });
  const files = entries.filter((entry) => !entry.isDirectory() && !entry.name.startsWith('.'));
  const names = files.map((entry) => entry.name);
  return withoutOverviews(names)
    .filter((name) => imageExtensions.has(extname(name).toLowerCase()))
    .sort();
}

// Pictures of a folder by their names without extension.
async function byName(folder: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const file of await listPictures(folder)) {
    const { name } = parse(file);
    const earlier = files.get(name);
    if (earlier !== undefined) {
      const text = `has ${earlier} and ${file}: names must differ before the extension.`;
      throw new FileError(text, folder);
    }
    files.set(name, file);
  }
  return files;
}
