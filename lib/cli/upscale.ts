// `emulsion upscale`: its options and help. The work is loaded when it is asked for.
import { Option, type Command } from 'commander';
import { decimal, integer, newCommand, reporting } from './run.js';
import { samplerNames } from './samplers.js';
import { withModelOptions, type SamplingCommandOptions } from './sampling_options.js';

/** Options of `emulsion upscale`, as the command line gives them. */
export interface UpscaleCommandOptions extends Omit<
  SamplingCommandOptions,
  'spacing' | 'guidance' | 'grid' | 'npz'
> {
  background: string;
  force?: boolean;
}

/** The command that enlarges pictures. */
export function upscaleCommand(): Command {
  return withModelOptions(newCommand('upscale'))
    .description('enlarge pictures with a diffusion model of super-resolution')
    .argument('<pictures...>', 'files, or folders of them')
    .requiredOption('-o, --output <folder>', 'where the results go, as PNG of the same names')
    .addOption(
      new Option('--sampler <name>', 'how results are found').choices(samplerNames).default('ddim'),
    )
    .option('--steps <n>', 'of the sampler. Default 100; ddpm takes all', integer(1))
    .option('--eta <number>', 'noise of ddim and euler-a. Default 1', decimal(0))
    .option('--seed <n>', 'of every picture: another seed makes other details', integer(0), 0)
    .option('--batch <n>', 'pictures of one size at once on a GPU. A CPU takes one', integer(1), 1)
    .option('--background <colour>', 'what shows through transparent pixels', 'white')
    .option('--device <name>', 'where to compute. Default: a GPU if there is one')
    .option('--force', 'overwrite existing files')
    .option('--quiet', 'no progress and no summary')
    .addHelpText(
      'after',
      `
Examples:
  emulsion upscale --model bsr_sr.ckpt --preset bsr_sr photos/ -o large
  emulsion upscale --model logs/faces-x4 small.png --steps 50 --seed 3 -o large

By how much is the model's: four times with bsr_sr. A result is a function of its picture and the seed alone.`,
    )
    .action(
      reporting(async (pictures: string[], options: UpscaleCommandOptions) => {
        await (await import('./upscale_pictures.js')).upscalePictures(pictures, options);
      }),
    );
}
