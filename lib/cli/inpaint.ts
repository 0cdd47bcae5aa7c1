// `emulsion inpaint`: its options and help. The work is loaded when it is asked for.
import { InvalidArgumentError, type Command } from 'commander';
import type { Borders } from '../ldm/index.js';
import { integer, newCommand, reporting } from './run.js';
import { withSamplingOptions, type SamplingCommandOptions } from './sampling_options.js';

/** Options of `emulsion inpaint`, as the command line gives them. */
export interface InpaintCommandOptions extends SamplingCommandOptions {
  image: string;
  mask?: string;
  outpaint?: Required<Borders>;
  resizeMask?: boolean;
  softEdge?: number;
  prompt?: string;
  negative?: string;
  tokenizer?: string;
  class?: string;
  classNames?: string;
  force?: boolean;
}

/** The command that fills holes of pictures. */
export function inpaintCommand(): Command {
  return withSamplingOptions(newCommand('inpaint'), {
    guidance: '5 with a text, 3 with a class where one means "none", else 1: none',
  })
    .description('fill holes of pictures, or go on beyond their edges')
    .requiredOption('--image <path>', 'a picture, or a folder of them')
    .option(
      '--mask <path>',
      'what is to be made, in white: a picture, or a folder of them under the same names. Default: ' +
        'NAME_mask.png beside NAME.png',
    )
    .option(
      '--outpaint <l,t,r,b>',
      'instead of masks: pixels to be added left, top, right, bottom',
      borders,
    )
    .option('--resize-mask', "bring masks of another size to their picture's")
    .option(
      '--soft-edge <pixels>',
      'of known pixels that fade into made ones. Default 0',
      integer(0),
    )
    .option(
      '--prompt <text>',
      'what is to be made, by a model that reads texts. Default: nothing in particular',
    )
    .option('--negative <text>', 'what guidance leads away from, instead of from nothing')
    .option(
      '--tokenizer <path>',
      "the tokenizer's files, such as vocab.txt of bert-base-uncased. Default: the model folder's",
    )
    .option(
      '--class <class>',
      'id or name of what is to be made, by a model of classes. Default: the class that means "none"',
    )
    .option('--class-names <file>', "the classes' names, a line each. Default: the model folder's")
    .option('--force', 'overwrite files')
    .addHelpText(
      'after',
      `
Examples:
  emulsion inpaint --model last.ckpt --preset inpainting_big --image photos -o filled
  emulsion inpaint --model logs/photos --image photo.jpg --mask hole.png --steps 100 -o filled
  emulsion inpaint --model logs/photos --image photo.jpg --outpaint 64,0,64,0 -o wider
  emulsion inpaint --model logs/captions --image photo.jpg --mask hole.png --prompt "a red fox" --guidance 7 -o foxes

Models that are conditioned on masked pictures, perhaps with a text, fill holes as they were trained to; models of
nothing, texts or classes are led by what is known. Known pixels are copied as they are. Files are named after their
pictures.`,
    )
    .action(
      reporting(async (options: InpaintCommandOptions) => {
        await (await import('./inpaint_pictures.js')).inpaintPictures(options);
      }),
    );
}

function borders(text: string): Required<Borders> {
  const widths = text.split(',');
  if (widths.length === 4 && widths.every((width) => /^\d{1,6}$/.test(width))) {
    const [left, top, right, bottom] = widths.map(Number);
    if (left + top + right + bottom > 0) return { left, top, right, bottom };
  }
  throw new InvalidArgumentError(
    'Expected four whole numbers of pixels, one of them above 0, such as 64,0,64,0.',
  );
}
