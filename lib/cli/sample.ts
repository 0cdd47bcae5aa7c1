// `emulsion sample`: its options and help. The work is loaded when it is asked for.
import type { Command } from 'commander';
import { decimal, integer, newCommand, reporting } from './run.js';
import { withSamplingOptions, type SamplingCommandOptions } from './sampling_options.js';

/** Options of `emulsion sample`, as the command line gives them. */
export interface SampleCommandOptions extends SamplingCommandOptions {
  count: number;
  init?: string;
  strength?: number;
}

/** The command that makes pictures. */
export function sampleCommand(): Command {
  return withSamplingOptions(newCommand('sample'))
    .description('make pictures with a diffusion model that is conditioned on nothing')
    .requiredOption('-n, --count <n>', 'pictures', integer(1))
    .option('--init <image>', 'a picture to start from instead of noise')
    .option('--strength <share>', 'of the steps that change it. Default 0.75', decimal(0, 1))
    .addHelpText(
      'after',
      `
Examples:
  emulsion sample --model logs/photos/model -n 16 --grid -o samples
  emulsion sample --model celeba256.ckpt --preset celeba256 -n 8 --steps 200 --eta 1 -o faces
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
