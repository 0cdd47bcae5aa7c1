// `emulsion convert`: its options and help. The work is loaded when it is asked for.
import { InvalidArgumentError, Option, type Command } from 'commander';
import type { ConvertOptions } from './convert_checkpoint.js';
import { newCommand, reporting } from './run.js';

/** The command that turns one kind of file into another. */
export function convertCommand(): Command {
  return newCommand('convert')
    .description("convert checkpoints: PyTorch's, safetensors, model folders, diffusers' folders")
    .argument(
      '<input>',
      "a .ckpt, .pth or .safetensors file, a model folder, or diffusers' folder of a pipeline, U-Net or autoencoder",
    )
    .argument('<output>', 'a .safetensors file, or a folder')
    .addOption(
      new Option(
        '--to <kind>',
        "what to write. Default: by the output's name, a safetensors file or a model folder",
      ).choices(['safetensors', 'folder', 'diffusers']),
    )
    .option(
      '--preset <name>',
      'what a file holds: an autoencoder such as kl-f8 or vq-f4, or a diffusion model such as celeba256',
    )
    .option(
      '--config <file>',
      "or its configuration: the original's YAML, or the config.json of a model or diffusers' folder",
    )
    .option(
      '--prefix <prefix>',
      'take the keys that begin so, without it: one part of a diffusion model. Default: all, or first_stage_model. for an autoencoder',
    )
    .option('--ema', 'the moving average of the weights instead of the last ones')
    .addOption(
      new Option('--dtype <dtype>', 'convert all floating tensors. Default: as they are').choices([
        'float32',
        'float16',
        'bfloat16',
      ]),
    )
    .option(
      '--scale-factor <number>',
      "what latents are multiplied by, for diffusers' config. Default: the input's, or 1",
      positive,
    )
    .option('--dry-run', 'print which tensor goes where, and write nothing')
    .option('--force', 'overwrite existing files')
    .option('--json', 'print which tensor went where, and what was left out, as JSON')
    .option('--quiet', 'no progress and no summary')
    .addHelpText(
      'after',
      `
Examples:
  The autoencoder of a latent diffusion checkpoint as a model folder, and for diffusers:
    emulsion convert model.ckpt kl-f8 --preset kl-f8
    emulsion convert model.ckpt kl-f8-diffusers --preset kl-f8 --to diffusers

  A whole latent diffusion model as a pipeline of diffusers, and its U-Net alone:
    emulsion convert model.ckpt celeba --preset celeba256 --ema --to diffusers
    emulsion convert model.ckpt unet --config config.yaml --prefix model.diffusion_model. --to diffusers

  Folders of diffusers as model folders:
    emulsion convert sd-vae-ft-mse vae
    emulsion convert ldm-celebahq-256 celebahq

  Every tensor of a checkpoint, in half precision and under the same names:
    emulsion convert last.ckpt last.safetensors --dtype float16

PyTorch opens a .safetensors file with safetensors.torch.load_file. Nothing in a .ckpt is executed.`,
    )
    .action(
      reporting(async (input: string, output: string, options: ConvertOptions) => {
        await (await import('./convert_checkpoint.js')).convert(input, output, options);
      }),
    );
}

function positive(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value > 0) return value;
  throw new InvalidArgumentError('Expected a number above 0.');
}
