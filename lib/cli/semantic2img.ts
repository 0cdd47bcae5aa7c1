// `emulsion semantic2img`: its options and help. The work is loaded when it is asked for.
import type { Command } from 'commander';
import { integer, newCommand, reporting } from './run.js';
import {
  size,
  withSamplingOptions,
  type SamplingCommandOptions,
  type SizeOption,
} from './sampling_options.js';

/** Options of `emulsion semantic2img`, as the command line gives them. */
export interface Semantic2imgOptions extends SamplingCommandOptions {
  map: string[];
  count: number;
  size?: SizeOption;
  patch?: number;
  whole?: boolean;
  colours?: string;
  ignore?: number;
  shift?: number;
}

/** The command that makes pictures of label maps. */
export function semantic2imgCommand(): Command {
  return withSamplingOptions(newCommand('semantic2img'))
    .description('make pictures of label maps, of any size')
    .requiredOption(
      '--map <file...>',
      'PNG files of one byte or palette index per pixel, which are labels; or of colours, with --colours',
    )
    .option('-n, --count <n>', 'pictures of each map; they fill a row of --grid', integer(1), 1)
    .option('--size <pixels>', 'resize maps to WIDTHxHEIGHT, or to this shorter side', size)
    .option(
      '--patch <pixels>',
      'side of what the network sees at once. Default: what it was trained on',
      integer(1),
    )
    .option('--whole', 'show it the whole canvas at once: memory grows with the canvas')
    .option('--colours <file>', 'a JSON file of labels by colour: { "#87ceeb": 0, "#228b22": 1 }')
    .option('--ignore <byte>', 'the byte that stands for no label', integer(0))
    .option(
      '--shift <n>',
      'is added to every byte, modulo 256. COCO-Stuff of 183 labels: 1',
      integer(0),
    )
    .addHelpText(
      'after',
      `
Examples:
  emulsion semantic2img --model logs/scenes/model --map annotations/7.png -n 4 --grid -o scenes
  emulsion semantic2img --model semantic.ckpt --preset semantic_synthesis256 --map wide.png --size 1024x512 -o wide

Pictures have the size of their maps. Larger ones than those of training are made of overlapping patches, in
memory that a patch and the picture need.`,
    )
    .action(
      reporting(async (options: Semantic2imgOptions) => {
        await (await import('./semantic2img_pictures.js')).semantic2img(options);
      }),
    );
}
