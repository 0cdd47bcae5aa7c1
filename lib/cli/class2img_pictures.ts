// The work of `emulsion class2img`.
import { tensor } from '../creation.js';
import { readClassNames } from '../io/class_names.js';
import { defaultClassGuidance, latentSize } from '../ldm/index.js';
import { askedClasses } from './asked_classes.js';
import type { ClassCommandOptions } from './class2img.js';
import { refuseOtherTask } from './other_task.js';
import { openForSampling, runPictures } from './picture_run.js';
import { pixelSize } from './sampling_options.js';

/** Makes the pictures. Ctrl-C leaves those that are finished. */
export async function classPictures(
  given: readonly string[],
  options: ClassCommandOptions,
): Promise<void> {
  const { count } = options;
  let ids: readonly number[] = [];
  const opened = await openForSampling(options, async (spec, path) => {
    refuseOtherTask(options.model, spec, 'class2img');
    ids = askedClasses(spec, given, await readClassNames(path, options.classNames));
  });
  const { model } = opened;
  const size = pixelSize(options.size);
  const latents = size && latentSize('class2img', model, size);
  const { guidance = defaultClassGuidance(model.spec) } = options;
  const classOf = (picture: number) => BigInt(ids[Math.floor(picture / count)]);
  await runPictures(
    opened,
    { ...options, guidance },
    {
      total: ids.length * count,
      settings: { classes: ids, perClass: count, size },
      ...(latents && { sampling: () => ({ size: latents }) }),
      condition: (pictures) => tensor(BigInt64Array.from(pictures, classOf)),
      ...(ids.length > 1 && { perRow: count }),
    },
  );
}
