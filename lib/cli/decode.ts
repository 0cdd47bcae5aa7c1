// `emulsion decode`: pictures of latents that `emulsion encode`, or a program in Python, has written.
import { posix, win32 } from 'node:path';
import { FileError } from '../errors.js';
import { writeImage } from '../io/image.js';
import { readSafetensors, type SafetensorsFile } from '../io/safetensors.js';
import { decodeTiled, type FirstStage } from '../ldm/first_stage/index.js';
import { permute } from '../ops/index.js';
import { tidy } from '../scope.js';
import {
  openFirstStage,
  PictureProgress,
  tilingOf,
  type SharedOptions,
} from './first_stage_model.js';
import { makeFolder, planPngs } from './picture_files.js';
import { printJson } from './run.js';

export interface DecodeOptions extends SharedOptions {
  json?: boolean;
}

/** Size of a picture whose latents are in the file, and the factor that they were multiplied by. */
interface Latents {
  readonly name: string;
  readonly height: number;
  readonly width: number;
  readonly scale: number;
}

/** Writes a picture per tensor. Everything that the file claims is checked before the first is decoded. */
export async function decode(path: string, options: DecodeOptions): Promise<void> {
  const file = await readSafetensors(path);
  if (file.keys.length === 0) throw new FileError('holds no latents.', path);
  for (const name of file.keys) checkName(path, name);
  const outputs = await planPngs(file.keys, options.output, options);
  const model = await openFirstStage(options);
  const all = describe(file, model);
  await makeFolder(options.output);

  const progress = new PictureProgress(all.length, options);
  try {
    for (const [i, latents] of all.entries()) {
      progress.begin(latents.name);
      await tidy(async () => {
        const stored = await file.get(latents.name); // [1, C, h, w]
        const z = permute(stored, [0, 2, 3, 1]).to('float32').div(latents.scale);
        const image = await decodeTiled(model, z, {
          ...tilingOf(options, model, latents),
          size: [latents.height, latents.width],
          onProgress: progress.tiles('decoding'),
        });
        await writeImage(outputs[i], image);
      });
      progress.end();
    }
  } finally {
    progress.stop();
  }
  if (!options.json) return;
  const pictures = all.map(({ name, height, width }, i) => {
    return { name, output: outputs[i], height, width };
  });
  printJson({ pictures });
}

// Names become files: one that leads out of the folder is refused.
function checkName(path: string, name: string): void {
  const plain = posix.basename(name) === name && win32.basename(name) === name;
  if (!plain || name === '.' || name === '..' || name.includes('\0')) {
    throw new FileError(`the name ${JSON.stringify(name)} cannot be a file's name.`, path);
  }
}

function describe(file: SafetensorsFile, model: FirstStage): Latents[] {
  const fail = (text: string): never => {
    throw new FileError(text, file.origin);
  };
  const f = model.downsampling;
  const written = file.metadata.get('downsampling');
  if (written !== undefined && Number(written) !== f)
    fail(`its latents are ${written} times smaller than the pictures; the model's are ${f} times.`);
  const scale = Number(file.metadata.get('scale') ?? 1);
  if (!(Number.isFinite(scale) && scale > 0))
    fail(`its scale must be a positive number. Got ${file.metadata.get('scale')}.`);
  const sizes = parseSizes(file);
  return file.keys.map((name) => {
    const { shape } = file.info(name);
    const channels = model.latentChannels;
    if (shape.length !== 4 || shape[0] !== 1 || shape[1] !== channels || shape.includes(0))
      fail(`'${name}' must be [1, ${channels}, h, w] for this model. Got [${shape.join(', ')}].`);
    const [, , h, w] = shape;
    const [height, width] = sizes.get(name) ?? [h * f, w * f];
    if (Math.ceil(height / f) !== h || Math.ceil(width / f) !== w)
      fail(`'${name}' of ${h} x ${w} latents cannot be a picture of ${height} x ${width} pixels.`);
    return { name, height, width, scale };
  });
}

// [height, width] of the pictures, as far as the file tells them.
function parseSizes(file: SafetensorsFile): Map<string, [number, number]> {
  const text = file.metadata.get('sizes');
  if (text === undefined) return new Map();
  let sizes: unknown;
  try {
    sizes = JSON.parse(text);
  } catch {
    sizes = null;
  }
  const entries = Object.entries(typeof sizes === 'object' && sizes !== null ? sizes : { '': 0 });
  const size = (value: unknown): value is [number, number] =>
    Array.isArray(value) && value.length === 2 && value.every((side) => Number.isSafeInteger(side));
  const wrong = entries.find(([, value]) => !size(value));
  if (wrong)
    throw new FileError(`its metadata \`sizes\` must be {name: [height, width]}.`, file.origin);
  return new Map(entries as [string, [number, number]][]);
}
