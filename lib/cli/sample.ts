// `emulsion sample`: its options and help. The work is loaded when it is asked for.
import type { Command } from 'commander';
import { decimal, integer, newCommand, reporting } from './run.js';
import { withSamplingOptions, type SamplingCommandOptions } from './sampling_options.js';

/** Options of `emulsion sample`, as the command line gives them. */
export interface SampleCommandOptions extends SamplingCommandOptions {
  count: number;
  class?: string[];
  classNames?: string;
  init?: string;
  strength?: number;
}

/** The command that makes pictures. */
export function sampleCommand(): Command {
  return withSamplingOptions(newCommand('sample'))
    .description('make pictures with a diffusion model')
    .requiredOption('-n, --count <n>', 'pictures; with --class, of each class', integer(1))
    .option(
      '--class <class...>',
      'ids or names of classes, for a model that is conditioned on them; each fills a row of --grid',
    )
    .option('--class-names <file>', "the classes' names, a line each. Default: the model folder's")
    .option('--init <image>', 'a picture to start from instead of noise')
    .option('--strength <share>', 'of the steps that change it. Default 0.75', decimal(0, 1))
    .addHelpText(
      'after',
      `
Examples:
  emulsion sample --model logs/photos/model -n 16 --grid -o samples
  emulsion sample --model celeba256.ckpt --preset celeba256 -n 8 --steps 200 --eta 1 -o faces
  emulsion sample --model cin256-v2.ckpt --preset cin256-v2 --class 207 980 -n 4 --guidance 3 --steps 20 -o out
  emulsion sample --model logs/photos/model -n 4 --init sketch.png --strength 0.6 -o variations

Pictures are numbered on from those in the folder, and picture k is made from seed + k: a second call makes
further ones. sampling_config.json tells how each was made.`,
    )
    .action(
      reporting(async (options: SampleCommandOptions) => {
        await (await import('./sample_pictures.js')).samplePictures(options);
      }),
    );
}
