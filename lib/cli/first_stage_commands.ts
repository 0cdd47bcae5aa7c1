// `emulsion reconstruct`, `encode` and `decode`: their options and help. The engine is loaded when one of
// them runs, so that the other commands work without it.
import type { Command } from 'commander';
import type { DecodeOptions } from './decode.js';
import type { EncodeOptions } from './encode.js';
import type { ReconstructOptions } from './reconstruct.js';
import { integer, newCommand, reporting } from './run.js';

/** The commands around a trained first stage. */
export const firstStageCommands = (): Command[] => [reconstruct(), encode(), decode()];

function reconstruct(): Command {
  return withSharedOptions(newCommand('reconstruct'))
    .description('send pictures through a first stage and back, and measure what was lost')
    .argument('<pictures...>', 'files, or folders of them')
    .requiredOption('-o, --output <folder>', 'where the reconstructions go, as PNG')
    .option('--lpips-vgg <file>', "also measure LPIPS: torchvision's vgg16-397923af.pth")
    .option('--lpips-heads <file>', 'and the learnt layers, vgg.pth of LPIPS 0.1')
    .option('--json', 'print the measurements as JSON; a PSNR of null is infinite: equal pictures')
    .addHelpText(
      'after',
      `
Examples:
  emulsion reconstruct --model runs/kl-f8 photo.jpg -o out
  emulsion reconstruct --model model.ckpt --preset kl-f8 photos/ -o out --json > quality.json

PSNR and SSIM (Gaussian window) compare the 8-bit files; a KL model decodes the posterior's mode.`,
    )
    .action(
      reporting(async (pictures: string[], options: ReconstructOptions) => {
        await (await import('./reconstruct.js')).reconstruct(pictures, options);
      }),
    );
}

function encode(): Command {
  return withSharedOptions(newCommand('encode'))
    .description('turn pictures into latents')
    .argument('<pictures...>', 'files, or folders of them')
    .requiredOption('-o, --output <file>', 'the latents, a safetensors file')
    .option('--sample', "sample a KL model's posterior. Default: its mode")
    .option('--seed <number>', 'seed of the samples. Default: 0', integer(0))
    .option('--json', 'print the pictures and the shapes of their latents as JSON')
    .addHelpText(
      'after',
      `
Examples:
  emulsion encode --model runs/kl-f8 photos/ -o latents.safetensors
  emulsion encode --model runs/kl-f8 photo.jpg --sample --seed 7 -o latents.safetensors

Each latent is a tensor [1, C, h, w] under its picture's file name, unscaled. The metadata hold the factor
\`downsampling\`, the \`scale\` that latents were multiplied by (1), and \`sizes\`, the pictures' [height, width].`,
    )
    .action(
      reporting(async (pictures: string[], options: EncodeOptions) => {
        await (await import('./encode.js')).encode(pictures, options);
      }),
    );
}

function decode(): Command {
  return withSharedOptions(newCommand('decode'))
    .description('turn latents into pictures')
    .argument(
      '<latents>',
      'a safetensors file of latents [1, C, h, w], as `emulsion encode` writes it',
    )
    .requiredOption('-o, --output <folder>', 'where the pictures go, as PNG')
    .option('--json', 'print the files and their sizes as JSON')
    .addHelpText(
      'after',
      `
Examples:
  emulsion decode --model runs/kl-f8 latents.safetensors -o out`,
    )
    .action(
      reporting(async (latents: string, options: DecodeOptions) => {
        await (await import('./decode.js')).decode(latents, options);
      }),
    );
}

function withSharedOptions(command: Command): Command {
  return command
    .requiredOption('--model <path>', 'a saved model folder, or a checkpoint file with --preset')
    .option('--preset <name>', 'the architecture of a checkpoint file, such as kl-f8 or vq-f4')
    .option('--ema', 'the moving average of the weights, where the folder holds one')
    .option(
      '--tile <latents>',
      'side of the tiles for large pictures. Default: 512 pixels, above 768 x 768',
      integer(1),
    )
    .option('--no-tile', 'always take a picture whole')
    .option('--overlap <latents>', 'what neighbouring tiles share. Default: a quarter', integer(0))
    .option('--device <name>', 'where to compute. Default: a GPU if there is one')
    .option('--force', 'overwrite existing files')
    .option('--quiet', 'no progress and no table');
}
