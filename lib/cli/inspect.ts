// `emulsion inspect`: its options and help. The work is loaded when it is asked for.
import type { Command } from 'commander';
import type { InspectOptions } from './inspect_path.js';
import { integer, newCommand, reporting } from './run.js';

/** The command that tells what a file or folder holds. */
export function inspectCommand(): Command {
  return newCommand('inspect')
    .description('tell what a checkpoint, model folder, run or configuration holds')
    .argument(
      '<path>',
      "a .ckpt, .pt or .safetensors file, a folder of ours, the original's or diffusers', or YAML",
    )
    .option('--keys', 'list every tensor with its shape and dtype')
    .option('--depth <levels>', 'of the tree of modules. Default: 3', integer(1), 3)
    .option('--json', 'print it as JSON')
    .addHelpText(
      'after',
      `
Examples:
  emulsion inspect model.ckpt
  emulsion inspect logs/photos --json
  emulsion inspect sd-vae-ft-mse --keys
  emulsion inspect configs/latent_diffusion/txt2img-1p4B.yaml --depth 4

Of a configuration the model is told that it describes, tensor by tensor; nothing is built. Only descriptions are
read, and the latents' scale: a file of many gigabytes takes no longer than a small one.
Nothing in a .ckpt is executed.`,
    )
    .action(
      reporting(async (path: string, options: InspectOptions) => {
        await (await import('./inspect_path.js')).inspect(path, options);
      }),
    );
}
