// `emulsion sample`: its options and help. The work is loaded when it is asked for.
import { Option, type Command } from 'commander';
import { decimal, integer, newCommand, reporting } from './run.js';
import { samplerNames, spacingNames, type SamplerName, type SpacingName } from './samplers.js';

/** Options of `emulsion sample`, as the command line gives them. */
export interface SampleCommandOptions {
  model: string;
  preset?: string;
  config?: string;
  ema?: boolean;
  raw?: boolean;
  count: number;
  batch: number;
  sampler: SamplerName;
  steps?: number;
  spacing?: SpacingName;
  eta?: number;
  guidance?: number;
  class?: string[];
  classNames?: string;
  seed: number;
  init?: string;
  strength?: number;
  grid?: boolean;
  npz?: boolean;
  output: string;
  device?: string;
  quiet?: boolean;
}

/** The command that makes pictures. */
export function sampleCommand(): Command {
  return newCommand('sample')
    .description('make pictures with a diffusion model')
    .requiredOption(
      '--model <path>',
      'a saved model folder, the folder of a run, or a checkpoint file with --preset or --config',
    )
    .option('--preset <name>', 'the architecture of a checkpoint file, such as ffhq256')
    .option('--config <file>', "or its configuration, the original's YAML")
    .option('--ema', 'the moving average of the weights (default where there is one)')
    .option('--raw', 'the weights as they were trained last')
    .requiredOption('-n, --count <n>', 'pictures; with --class, of each class', integer(1))
    .option('--batch <n>', 'pictures at once on a GPU. A CPU always makes four', integer(1), 4)
    .addOption(
      new Option('--sampler <name>', 'how pictures are found')
        .choices(samplerNames)
        .default('ddim'),
    )
    .option('--steps <n>', 'of the sampler. Default 50; ddpm takes all', integer(1))
    .addOption(
      new Option(
        '--spacing <name>',
        'of the steps: uniform (default) or quad for ddim and plms; for dpm++, euler, euler-a and unipc the others, linspace by default',
      ).choices(spacingNames),
    )
    .option('--eta <number>', 'noise of ddim (default 0) and euler-a (default 1)', decimal(0))
    .option('--guidance <scale>', 'of classifier-free guidance. Default 1: none', decimal(0))
    .option(
      '--class <class...>',
      'ids or names of classes, for a model that is conditioned on them',
    )
    .option('--class-names <file>', "the classes' names, a line each. Default: the model folder's")
    .option('--seed <n>', 'of picture 0; picture k has the seed that is k more', integer(0), 0)
    .option('--init <image>', 'a picture to start from instead of noise')
    .option('--strength <share>', 'of the steps that change it. Default 0.75', decimal(0, 1))
    .option('--grid', 'also write all pictures as one, a row for each class')
    .option('--npz', "also write them as NumPy's .npz, uint8 [N, H, W, 3] under arr_0")
    .requiredOption('-o, --output <folder>', 'where the pictures go, as PNG')
    .option('--device <name>', 'where to compute. Default: a GPU if there is one')
    .option('--quiet', 'no progress and no summary')
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
