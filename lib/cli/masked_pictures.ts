// Pictures and their masks as files: which belong together, checked before any model is loaded.
import { stat } from 'node:fs/promises';
import { basename, dirname, join, parse, resolve } from 'node:path';
import { FileError } from '../errors.js';
import { fileError } from '../io/file_error.js';
import { readImage, readImageSize } from '../io/image.js';
import { listPictures } from '../metrics/folders.js';
import { resize } from '../ops/index.js';
import { tidy } from '../scope.js';
import type { Tensor } from '../tensor.js';
import { findPictures, type PictureFile } from './picture_files.js';

/** A picture, and what of it is to be made. */
export interface MaskedPicture {
  readonly picture: PictureFile;
  readonly mask: string;
  /** What its result is called: the picture's name, or the mask's where a picture has several. */
  readonly name: string;
}

/**
 * The pictures that `--image` names with the masks that `--mask` names, or that lie beside them.
 *
 * @param options.resizeMask whether masks may have another size
 * @throws FileError for pictures without a mask, and for masks without a hole or of another size
 */
export async function findMaskedPictures(
  image: string,
  mask: string | undefined,
  { resizeMask = false }: { resizeMask?: boolean } = {},
): Promise<MaskedPicture[]> {
  const isBeside = mask === undefined || resolve(mask) === resolve(image);
  const pairs = isBeside ? await beside(image) : await matched(image, mask);
  const counts = new Map<string, number>();
  for (const { path } of pairs) counts.set(path, (counts.get(path) ?? 0) + 1);
  const found: MaskedPicture[] = [];
  for (const { path, mask: file } of pairs) {
    const [picture] = await findPictures([path]);
    await checkMask(file, picture, resizeMask);
    const name = counts.get(path)! > 1 ? basename(file) : picture.name;
    found.push({ picture, mask: file, name });
  }
  return found;
}

/** A mask as [1, H, W, 1], 0 for black and 1 for white, brought to the picture's size by nearest pixels. */
export async function readMask(
  path: string,
  { height, width }: { height: number; width: number },
): Promise<Tensor> {
  const grey = await readImage(path, { channels: 1 });
  const mask = grey
    .add(1)
    .div(2)
    .reshape([1, ...grey.shape]);
  return resize(mask, { size: [height, width], mode: 'nearest' });
}

interface Pair {
  readonly path: string;
  readonly mask: string;
}

// The authors' program reads NAME.png and NAME_mask.png; LaMa numbers masks, NAME_mask000.png.
const maskName = /^(.+)_mask\d*$/;

/** NAME of NAME_mask.png; null where a file is not called like a mask. */
const maskedName = (file: string): string | null => maskName.exec(parse(file).name)?.[1] ?? null;

async function beside(image: string): Promise<Pair[]> {
  const isFolder = (await entry(image)).isDirectory();
  const folder = isFolder ? image : dirname(image);
  const files = await listPictures(folder);
  const masks = files.filter((file) => maskedName(file) !== null);
  if (!isFolder) {
    const { name } = parse(image);
    const own = masks.filter((mask) => maskedName(mask) === name);
    if (own.length > 0) return own.map((mask) => ({ path: image, mask: join(folder, mask) }));
    throw new FileError(`has no mask beside it (${name}_mask.png); name one with --mask.`, image);
  }
  if (masks.length === 0)
    throw new FileError('holds no masks: they are called NAME_mask.png beside NAME.png.', folder);
  const pictures = new Map(files.map((file) => [parse(file).name, file]));
  return masks.map((mask) => {
    const picture = pictures.get(maskedName(mask)!);
    if (picture !== undefined) return { path: join(folder, picture), mask: join(folder, mask) };
    throw new FileError('is a mask without its picture beside it.', join(folder, mask));
  });
}

async function matched(image: string, mask: string): Promise<Pair[]> {
  const pictures = await findPictures([image]);
  if (!(await entry(mask)).isDirectory()) return pictures.map(({ path }) => ({ path, mask }));
  const masks = new Map<string, string>();
  // A mask of the picture's own name is the surer one.
  const files = await listPictures(mask);
  for (const file of files.filter((each) => maskedName(each) !== null))
    masks.set(maskedName(file)!, file);
  for (const file of files) masks.set(parse(file).name, file);
  return pictures.map(({ path, name }) => {
    const { name: stem } = parse(name);
    const found = masks.get(stem);
    if (found !== undefined) return { path, mask: join(mask, found) };
    throw new FileError(`has no mask in ${mask}: it would be called ${stem}.png.`, path);
  });
}

async function checkMask(path: string, picture: PictureFile, mayDiffer: boolean): Promise<void> {
  const { height, width } = await readImageSize(path);
  if (!mayDiffer && (height !== picture.height || width !== picture.width))
    throw new FileError(
      `is ${width} x ${height} pixels, and ${picture.path} is ${picture.width} x ${picture.height}; ` +
        '--resize-mask brings masks to the size of their pictures.',
      path,
    );
  const whitest = await tidy(async () => (await readMask(path, picture)).max().item());
  if (whitest < 0.5)
    throw new FileError('has no hole: what is to be made is white, what is known black.', path);
}

const entry = (path: string) =>
  stat(path).catch((error: unknown) => {
    throw fileError(path, 'cannot be read', error);
  });
