// `emulsion train`: what can be trained, with which options. The work is loaded when it is asked for.
import { Option, type Command } from 'commander';
import { integer, newCommand, reporting } from './run.js';

/** Options of `emulsion train first-stage`, as the command line gives them. */
export interface TrainOptions {
  config: string[];
  name?: string;
  logdir: string;
  resume?: string;
  seed?: number;
  steps?: number;
  batch?: number;
  scaleLr?: boolean;
  device?: string;
  dtype?: 'float32' | 'bfloat16' | 'float16';
  tensorboard?: boolean;
  dryRun?: boolean;
}

const examples = `
Examples:
  A small autoencoder on your own pictures, on a CPU:
    emulsion train first-stage --config configs/first_stage/folder64-kl-f4.yaml \\
      data.params.train.params.data_root=photos --name photos

  A published one, with the weights of LPIPS, on a GPU:
    emulsion train first-stage --config configs/first_stage/kl-f8.yaml --device cuda:0 --dtype bfloat16 \\
      data.params.train.params.data_root=openimages/train \\
      data.params.validation.params.data_root=openimages/validation \\
      model.params.lossconfig.params.vgg=vgg16-397923af.pth model.params.lossconfig.params.heads=vgg.pth

  What would be trained, and nothing else:
    emulsion train first-stage --config configs/first_stage/vq-f8.yaml --dry-run

  On with a run that was interrupted:
    emulsion train first-stage --resume logs/photos
`;

const collect = (value: string, before: string[]): string[] => [...before, value];

/** The command with its subcommands. */
export function trainCommand(): Command {
  const firstStage = newCommand('first-stage')
    .description('train an autoencoder, KL- or VQ-regularised, with its discriminator')
    .argument('[overrides...]', 'values of the configuration, such as model.params.embed_dim=4')
    .option('-c, --config <file>', 'a configuration; later ones win (repeatable)', collect, [])
    .option('-n, --name <name>', 'of the run; default: that of the first configuration')
    .option('-l, --logdir <folder>', 'where runs are kept', 'logs')
    .option('-r, --resume <run>', 'go on with a run: its folder, or `latest`')
    .option('-s, --seed <n>', 'of everything random; default 23', integer(0))
    .option('--steps <n>', 'optimizer steps in all, those of earlier runs included', integer(1))
    .option('-b, --batch <n>', 'images in a batch', integer(1))
    .option('--scale-lr', 'multiply the learning rate with the images in a step (default)')
    .option('--no-scale-lr', 'take base_learning_rate as it is')
    .option('--device <device>', 'cpu, or a GPU such as cuda:0; default: a GPU if there is one')
    .addOption(
      new Option('--dtype <dtype>', 'of matrix work; default float32').choices([
        'float32',
        'bfloat16',
        'float16',
      ]),
    )
    .option('--tensorboard', 'also write event files for TensorBoard')
    .option('--dry-run', 'print the configuration as resolved and the numbers of parameters')
    .addHelpText('after', examples)
    .action(
      reporting(async (overrides: string[], options: TrainOptions) => {
        await (await import('./train_first_stage.js')).trainFirstStage(overrides, options);
      }),
    );
  return newCommand('train').description('train a network').addCommand(firstStage);
}
