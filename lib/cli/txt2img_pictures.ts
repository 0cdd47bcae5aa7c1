// The work of `emulsion txt2img`.
import { linesOf } from '../data/lines.js';
import { FileError } from '../errors.js';
import { readSmallFile } from '../io/positional.js';
import { defaultTextGuidance, latentSize, type TextTokenizer } from '../ldm/index.js';
import { refuseOtherTask } from './other_task.js';
import { openForSampling, runPictures } from './picture_run.js';
import { idsTensor, tokenizerOf } from './prompts.js';
import { UsageError } from './run.js';
import { pixelSize } from './sampling_options.js';
import type { TextCommandOptions } from './txt2img.js';

// A text is a line; files of more are of something else.
const largestFile = 64 * 1024 * 1024;

/** Makes the pictures. Ctrl-C leaves those that are finished. */
export async function textPictures(
  given: readonly string[],
  options: TextCommandOptions,
): Promise<void> {
  const { guidance = defaultTextGuidance, negative, count } = options;
  const prompts = await promptsOf(given, options);
  if (negative !== undefined && guidance === 1)
    throw new UsageError('--negative is what guidance leads away from: --guidance 1 is none.');
  let tokenizer: TextTokenizer;
  const opened = await openForSampling(options, async (spec, path) => {
    refuseOtherTask(options.model, spec, 'txt2img');
    tokenizer = await tokenizerOf(options, spec, path);
  });
  const { model } = opened;
  const size = pixelSize(options.size);
  const latents = size && latentSize('txt2img', model, size);
  // Each text once: it may be told that it is too long.
  const rows = prompts.map((prompt) => tokenizer.ids(prompt));
  const away = negative === undefined ? undefined : tokenizer!.ids(negative);
  const rowOf = (picture: number) => rows[Math.floor(picture / count)];
  await runPictures(
    opened,
    { ...options, guidance },
    {
      total: prompts.length * count,
      settings: { prompts, perPrompt: count, negative, size },
      ...(latents && { sampling: () => ({ size: latents }) }),
      condition: (pictures) => idsTensor(pictures.map(rowOf)),
      ...(away && { unconditional: (pictures) => idsTensor(pictures.map(() => away)) }),
      ...(prompts.length > 1 && { perRow: count }),
    },
  );
}

async function promptsOf(
  given: readonly string[],
  { fromFile }: TextCommandOptions,
): Promise<readonly string[]> {
  if (fromFile === undefined) {
    if (given.length === 0)
      throw new UsageError('give a text to make a picture of, or --from-file.');
    return given;
  }
  if (given.length > 0) throw new UsageError('give texts either in the call or with --from-file.');
  const text = (await readSmallFile(fromFile, largestFile, 'a file of texts')).toString();
  const prompts = linesOf(text);
  if (prompts.length === 0) throw new FileError('holds no text.', fromFile);
  return prompts;
}
