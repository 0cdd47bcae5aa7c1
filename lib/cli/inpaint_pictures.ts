// The work of `emulsion inpaint`: holes of pictures, each filled as its own seed says.
import { concat } from '../ops/index.js';
import { readImage } from '../io/image.js';
import { prepareInpainting, withBorders, type HoleOptions, type Inpainting } from '../ldm/index.js';
import type { Tensor } from '../tensor.js';
import type { InpaintCommandOptions } from './inpaint.js';
import { wantedOf, type Wanted } from './inpaint_wanted.js';
import { findMaskedPictures, readMask } from './masked_pictures.js';
import { findPictures, planPngs, type PictureFile } from './picture_files.js';
import { openForSampling, refuseMixedSizes, runPictures } from './picture_run.js';
import { UsageError } from './run.js';

/** One file's work. */
interface Work {
  readonly picture: PictureFile;
  readonly name: string;
  /** Sides of what is written. */
  readonly size: readonly [height: number, width: number];
  read(): Promise<{ image: Tensor; mask: Tensor }>;
}

/** Fills the holes and writes the pictures. Ctrl-C leaves those that are finished. */
export async function inpaintPictures(options: InpaintCommandOptions): Promise<void> {
  const { image, mask, outpaint, output, force, softEdge } = options;
  if (outpaint && (mask !== undefined || options.resizeMask))
    throw new UsageError('--outpaint says what is to be made: leave --mask and --resize-mask out.');
  const works = outpaint ? await outpainted(options, outpaint) : await masked(options);
  const kind = (work: number) => works[work].size.join(' x ');
  refuseMixedSizes(options, works.length, kind);
  const inputs = works.map(({ picture }) => picture.path);
  const names = works.map(({ name }) => name);
  const files = await planPngs(names, output, { force, inputs });
  let wanted: Wanted;
  const opened = await openForSampling(options, async (spec, path) => {
    wanted = await wantedOf(options, spec, path);
  });
  let group: { numbers: readonly number[]; holes: Inpainting };
  const asked = { prompt: options.prompt, negative: options.negative, class: options.class };
  const guided = { ...options, guidance: wanted!.guidance };
  await runPictures(opened, guided, {
    total: works.length,
    settings: { image, mask, resizeMask: options.resizeMask, outpaint, softEdge, ...asked },
    kind,
    fileOf: (work) => files[work],
    async sampling(numbers) {
      const given = await joined(numbers.map((number) => works[number]));
      const beside = wanted.beside(numbers.length);
      const holes = await prepareInpainting(opened.model, { ...given, softEdge, ...beside });
      group = { numbers, holes };
      return group.holes.sampling;
    },
    finish: (work, pixels) => group.holes.compose(pixels, group.numbers.indexOf(work)),
  });
}

async function masked({ image, mask, resizeMask }: InpaintCommandOptions): Promise<Work[]> {
  const found = await findMaskedPictures(image, mask, { resizeMask });
  return found.map(({ picture, mask: file, name }) => ({
    picture,
    name,
    size: [picture.height, picture.width],
    read: async () => ({ image: await readOne(picture), mask: await readMask(file, picture) }),
  }));
}

async function outpainted(
  { image }: InpaintCommandOptions,
  borders: NonNullable<InpaintCommandOptions['outpaint']>,
): Promise<Work[]> {
  const { left, top, right, bottom } = borders;
  const pictures = await findPictures([image]);
  return pictures.map((picture) => ({
    picture,
    name: picture.name,
    size: [picture.height + top + bottom, picture.width + left + right],
    read: async () => withBorders(await readOne(picture), borders),
  }));
}

const readOne = async ({ path }: PictureFile): Promise<Tensor> => {
  const image = await readImage(path);
  return image.reshape([1, ...image.shape]);
};

async function joined(works: readonly Work[]): Promise<Pick<HoleOptions, 'image' | 'mask'>> {
  const read: Awaited<ReturnType<Work['read']>>[] = [];
  for (const work of works) read.push(await work.read());
  const join = (part: 'image' | 'mask') =>
    concat(
      read.map((each) => each[part]),
      0,
    );
  return { image: join('image'), mask: join('mask') };
}
