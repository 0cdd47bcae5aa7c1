// `emulsion encode`: the latents of pictures, as a safetensors file in PyTorch's layout.
import { extname, join } from 'node:path';
import { readImage } from '../io/image.js';
import { writeSafetensors } from '../io/safetensors.js';
import type { TensorSource } from '../io/state.js';
import { encodeTiled } from '../ldm/first_stage/index.js';
import { permute } from '../ops/index.js';
import { tidy } from '../scope.js';
import {
  openFirstStage,
  PictureProgress,
  tilingOf,
  type SharedOptions,
} from './first_stage_model.js';
import { findPictures, refuseDuplicates, refuseToOverwrite } from './picture_files.js';
import { printJson, UsageError } from './run.js';

export interface EncodeOptions extends SharedOptions {
  sample?: boolean;
  seed?: number;
  json?: boolean;
}

/** Writes the latents of all pictures, one picture in memory at a time. The n-th picture has its own noise. */
export async function encode(inputs: readonly string[], options: EncodeOptions): Promise<void> {
  const { output, sample = false, seed } = options;
  if (extname(output) !== '.safetensors')
    throw new UsageError(`the output must be a .safetensors file. Got ${output}.`);
  if (seed !== undefined && !sample)
    throw new UsageError('--seed is for samples: give --sample as well.');
  const pictures = await findPictures(inputs);
  refuseDuplicates(
    pictures.map(({ name }) => name),
    'the picture',
  );
  // Of what is read, only weights can have the output's name.
  const names = ['.', 'model.safetensors', 'model_ema.safetensors'];
  const weights = names.map((name) => join(options.model, name));
  await refuseToOverwrite(output, { force: options.force, inputs: weights });
  const model = await openFirstStage(options);
  if (sample && model.spec.kind !== 'kl')
    throw new UsageError(
      `--sample is for KL models, which have a posterior. Got ${model.spec.kind}.`,
    );

  const f = model.downsampling;
  const progress = new PictureProgress(pictures.length, options);
  const latents = new Map<string, TensorSource>();
  for (const [step, picture] of pictures.entries()) {
    const { path, name, height, width } = picture;
    latents.set(name, {
      shape: [1, model.latentChannels, Math.ceil(height / f), Math.ceil(width / f)],
      dtype: 'float32',
      read: () =>
        tidy(async () => {
          progress.begin(name);
          const image = (await readImage(path)).reshape([1, height, width, 3]);
          const z = await encodeTiled(model, image, {
            ...tilingOf(options, model, picture),
            noise: sample ? { seed: seed ?? 0, step } : undefined,
            onProgress: progress.tiles('encoding'),
          });
          progress.end();
          return permute(z, [0, 3, 1, 2]).to('float32'); // [1, C, h, w]
        }),
    });
  }
  const sizes = Object.fromEntries(
    pictures.map(({ name, height, width }) => [name, [height, width]]),
  );
  try {
    await writeSafetensors(output, latents, {
      format: 'pt',
      downsampling: String(f),
      scale: '1',
      sizes: JSON.stringify(sizes),
    });
  } finally {
    progress.stop();
  }
  if (!options.json) return;
  const made = pictures.map(({ path, name }) => {
    return { input: path, name, shape: latents.get(name)!.shape };
  });
  printJson({ file: output, latents: made });
}
