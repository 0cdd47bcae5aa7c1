// `emulsion upscale`: its options and help. The work is loaded when it is asked for.
import type { Command } from 'commander';
import { newCommand, reporting } from './run.js';
import { withSamplingOptions, type SamplingCommandOptions } from './sampling_options.js';

/** Options of `emulsion upscale`, as the command line gives them. */
export interface UpscaleCommandOptions extends SamplingCommandOptions {
  background: string;
  force?: boolean;
}

/** The command that enlarges pictures. */
export function upscaleCommand(): Command {
  return withSamplingOptions(newCommand('upscale'), { steps: '100', eta: '1' })
    .description('enlarge pictures with a diffusion model of super-resolution')
    .argument('<pictures...>', 'files, or folders of them')
    .option('--background <colour>', 'what shows through transparent pixels', 'white')
    .option('--force', 'overwrite files')
    .addHelpText(
      'after',
      `
Examples:
  emulsion upscale --model bsr_sr.ckpt --preset bsr_sr photos/ -o large
  emulsion upscale --model logs/faces-x4 small.png --steps 50 --seed 3 -o large

By how much is the model's: four times with bsr_sr. Files are named after their pictures; another seed makes other
details.`,
    )
    .action(
      reporting(async (pictures: string[], options: UpscaleCommandOptions) => {
        await (await import('./upscale_pictures.js')).upscalePictures(pictures, options);
      }),
    );
}
