// `emulsion train`: what can be trained, with which options. The work is loaded when it is asked for.
import { Command, Option } from 'commander';
import { ending, integer, reporting } from './run.js';

/** Options of `emulsion train` and `emulsion train first-stage`, as the command line gives them. */
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
  cacheLatents?: boolean;
  capture?: boolean;
  tensorboard?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

const examples = `
Examples:
  A diffusion model on the latents of a first stage that was trained before:
    emulsion train --base configs/latent_diffusion/celeba256.yaml --device cuda:0 --dtype bfloat16 \\
      model.params.first_stage_config.params.ckpt_path=vq-f4.ckpt \\
      data.params.train.params.data_root=celeba/train \\
      data.params.validation.params.data_root=celeba/validation --steps 400000

  What would be trained, and nothing else:
    emulsion train --base configs/latent_diffusion/cin256.yaml --dry-run

  On with a run that was interrupted:
    emulsion train --resume logs/celeba256

Autoencoders are trained the same way; \`emulsion train first-stage\` does nothing else.
`;

const firstStageExamples = `
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

// Takes configurations as the original does, several after one flag.
class TrainCommand extends Command {
  constructor(
    name: string,
    private readonly flags: readonly string[],
  ) {
    super(name);
    ending(this);
  }

  override parseOptions(args: string[]): ReturnType<Command['parseOptions']> {
    const [first] = args;
    const isOwn = this.commands.every((command) => command.name() !== first);
    return super.parseOptions(isOwn ? repeatFlags(args, this.flags) : args);
  }
}

/** `-b a.yaml b.yaml key=1` as `-b a.yaml -b b.yaml key=1`: a flag goes as far as the next option. */
function repeatFlags(args: readonly string[], flags: readonly string[]): string[] {
  let flag: string | undefined;
  return args.flatMap((word, i) => {
    if (word.startsWith('-')) flag = flags.find((each) => each === word);
    const goesOn = flag !== undefined && word !== flag && args[i - 1] !== flag;
    return goesOn && !isOverride(word) ? [flag!, word] : [word];
  });
}

const isOverride = (word: string): boolean => /^[\w-]+(\.[\w-]+)*=/.test(word);

const collect = (value: string, before: string[]): string[] => [...before, value];

/** The command with its subcommand. */
export function trainCommand(): Command {
  const both = new TrainCommand('train', ['-b', '--base'])
    .description('train the model that a configuration describes, or go on with a run')
    .option('-b, --base <file>', 'configurations; later ones win (repeatable)', collect, [])
    .option('-t, --train', "accepted as in the original's command line, and implied")
    .option('--batch <n>', 'images in a batch', integer(1))
    .option('--cache-latents', "encode a diffusion model's pictures once, into the run's folder")
    .action(
      reporting(
        async (
          overrides: string[],
          { base, ...options }: Omit<TrainOptions, 'config'> & { base: string[] },
        ) => {
          const [{ train }, { trainingOf }] = await work();
          const call = { command: 'train', base: '--base', trainingOf };
          await train(call, overrides, { ...options, config: base });
        },
      ),
    );
  const firstStage = new TrainCommand('first-stage', ['-c', '--config'])
    .description('train an autoencoder, KL- or VQ-regularised, with its discriminator')
    .option('-c, --config <file>', 'configurations; later ones win (repeatable)', collect, [])
    .option('-b, --batch <n>', 'images in a batch', integer(1))
    .action(
      reporting(async (overrides: string[], options: TrainOptions) => {
        const [{ train }, { firstStageTraining }] = await work();
        const call = {
          command: 'train first-stage',
          base: '--config',
          trainingOf: firstStageTraining,
        };
        await train(call, overrides, options);
      }),
    );
  return (
    withSharedOptions(both)
      .addHelpText('after', examples)
      // What follows `first-stage` is its own.
      .enablePositionalOptions()
      .addCommand(withSharedOptions(firstStage).addHelpText('after', firstStageExamples))
  );
}

const work = () => Promise.all([import('./train_run.js'), import('./trainings.js')]);

function withSharedOptions(command: Command): Command {
  return command
    .argument('[overrides...]', 'values of the configuration, such as model.params.embed_dim=4')
    .option('-n, --name <name>', 'of the run; default: that of the first configuration')
    .option('-l, --logdir <folder>', 'where runs are kept', 'logs')
    .option('-r, --resume <run>', 'go on with a run: its folder, or `latest`')
    .option('-s, --seed <n>', 'of everything random; default 23', integer(0))
    .option('--steps <n>', 'optimizer steps in all, those of earlier runs included', integer(1))
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
    .option(
      '--no-capture',
      'run every operation of a step by itself where a recorded step could be replayed',
    )
    .option('--tensorboard', 'also write event files for TensorBoard')
    .option('--dry-run', 'print the configuration as resolved and the numbers of parameters')
    .option('--json', 'print what came of it as JSON, and no progress');
}
