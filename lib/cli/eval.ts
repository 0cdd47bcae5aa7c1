// `emulsion eval`: what can be measured, with which options. The work is loaded when it is asked for.
import { Option, type Command } from 'commander';
import { integer, newCommand, reporting } from './run.js';
import { withSamplerOptions, type SamplingCommandOptions } from './sampling_options.js';

/** Which network compares sets, and how results are told. */
export interface MetricOptions {
  extractor: 'inception' | 'emoji';
  weights?: string;
  resize?: 'tf' | 'clean';
  size?: number;
  device?: string;
  quiet?: boolean;
}

/** Options of a command that measures against a reference. */
export interface ReferenceCommandOptions extends MetricOptions {
  reference: string;
  /** A folder, or false for none. */
  cache?: string | false;
  neighbours?: boolean;
  json?: boolean;
}

/** Options of a command whose result is one file. */
export interface ResultFileOptions {
  output?: string;
  force?: boolean;
}

export type FolderCommandOptions = ReferenceCommandOptions & ResultFileOptions;

export type ModelCommandOptions = ReferenceCommandOptions &
  Omit<SamplingCommandOptions, 'grid' | 'npz'> & {
    count: number;
    class?: string[];
    classNames?: string;
    pictures?: boolean;
  };

export interface LpipsCommandOptions {
  lpipsVgg?: string;
  lpipsHeads?: string;
}

export type PairsCommandOptions = LpipsCommandOptions &
  ResultFileOptions & { json?: boolean; device?: string; quiet?: boolean };

export type FirstStageCommandOptions = MetricOptions &
  LpipsCommandOptions &
  ResultFileOptions & {
    model: string;
    preset?: string;
    ema?: boolean;
    images: string;
    json?: boolean;
  };

export interface ReferenceFileOptions extends MetricOptions {
  output: string;
  json?: boolean;
  force?: boolean;
}

export interface NearestCommandOptions extends MetricOptions {
  training: string;
  count: number;
  output: string;
  json?: boolean;
  force?: boolean;
}

export interface CompareCommandOptions {
  vary?: string[];
  json?: boolean;
}

const examples = `
Examples:
  emulsion eval folder samples --reference celeba/train --weights pt_inception-2015-12-05-6726825d.pth -o samples.json
  emulsion eval model --model logs/celeba256 -n 5000 --steps 200 --eta 1 --reference celeba.npz \\
    --weights pt_inception-2015-12-05-6726825d.pth -o scores
  emulsion eval first-stage --model logs/kl-f4/model --images celeba/validation --extractor emoji
  emulsion eval compare steps20.json steps200.json --vary sampling.steps

Every result holds its protocol: what it was measured by. \`compare\` refuses numbers that were not measured alike.`;

/** The command with its subcommands. */
export function evalCommand(): Command {
  const command = newCommand('eval')
    .description('measure samples, reconstructions and models')
    .addHelpText('after', examples)
    .enablePositionalOptions();
  for (const each of [folder(), model(), pairs(), firstStage(), reference(), nearest(), compare()])
    command.addCommand(each);
  return command;
}

function folder(): Command {
  return withResultFile(withReferenceOptions(newCommand('folder')))
    .description('score a folder of pictures, or a .npz file of them, against a reference')
    .argument('<samples>', 'the pictures, all of one size')
    .addHelpText(
      'after',
      `
Examples:
  emulsion eval folder samples --reference celeba/train --weights pt_inception-2015-12-05-6726825d.pth -o samples.json
  emulsion eval folder samples.npz --reference celeba.npz --extractor emoji --json`,
    )
    .action(
      reporting(async (samples: string, options: FolderCommandOptions) => {
        await (await import('./eval_folder.js')).evaluateFolder(samples, options);
      }),
    );
}

function model(): Command {
  return withReferenceOptions(withSamplerOptions(newCommand('model'), { batch: '4' }))
    .description('make samples, keep their features, and score them; goes on after an interruption')
    .requiredOption('-n, --count <n>', 'samples in all, evenly of each class', integer(2))
    .option('--class <class...>', 'ids or names of the classes to sample. Default: all')
    .option('--class-names <file>', "the classes' names, a line each. Default: the model folder's")
    .option('--pictures', 'keep the pictures too, as PNG')
    .requiredOption('-o, --output <folder>', 'where features and the result go')
    .addHelpText(
      'after',
      `
Examples:
  emulsion eval model --model logs/celeba256 -n 5000 --steps 200 --eta 1 --reference celeba.npz \\
    --weights pt_inception-2015-12-05-6726825d.pth -o scores
  emulsion eval model --model logs/emoji -n 640 --class otter 7 --reference drawings --extractor emoji -o scores`,
    )
    .action(
      reporting(async (options: ModelCommandOptions) => {
        await (await import('./eval_model.js')).evaluateModel(options);
      }),
    );
}

function pairs(): Command {
  return withLpips(withResultFile(newCommand('pairs')))
    .description('PSNR, SSIM and LPIPS between pictures of one name in two folders')
    .argument('<reference>', 'a folder')
    .argument('<pictures>', 'another')
    .option('--json', 'print the result as JSON')
    .option('--device <name>', 'where to compute. Default: a GPU if there is one')
    .option('--quiet', 'no progress')
    .addHelpText(
      'after',
      `
Examples:
  emulsion eval pairs photos out
  emulsion eval pairs photos out --lpips-vgg vgg16-397923af.pth --lpips-heads vgg.pth -o pairs.json`,
    )
    .action(
      reporting(async (expected: string, pictures: string, options: PairsCommandOptions) => {
        await (await import('./eval_pairs.js')).evaluatePairs(expected, pictures, options);
      }),
    );
}

function firstStage(): Command {
  return withLpips(withResultFile(withMetricOptions(newCommand('first-stage'))))
    .description('what a first stage keeps: PSNR, SSIM, LPIPS, and FID of its reconstructions')
    .requiredOption('--model <path>', 'a saved model folder, or a checkpoint file with --preset')
    .option('--preset <name>', 'the architecture of a checkpoint file, such as kl-f8 or vq-f4')
    .option('--ema', 'the moving average of the weights, where the folder holds one')
    .requiredOption('--images <folder>', 'pictures that it was not trained on')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
Examples:
  emulsion eval first-stage --model logs/kl-f4/model --images celeba/validation --extractor emoji
  emulsion eval first-stage --model model.ckpt --preset kl-f8 --images photos \\
    --weights pt_inception-2015-12-05-6726825d.pth -o kl-f8.json`,
    )
    .action(
      reporting(async (options: FirstStageCommandOptions) => {
        await (await import('./eval_first_stage.js')).evaluateReconstructions(options);
      }),
    );
}

function reference(): Command {
  return withMetricOptions(newCommand('reference'))
    .description('write statistics of a set (mu, sigma) and its features for later use')
    .argument('<pictures>', 'a folder, or a .npz file of pictures')
    .requiredOption('-o, --output <file>', 'a .npz file, which other FID tools read too')
    .option('--json', 'print the file and the number of pictures as JSON')
    .option('--force', 'overwrite an existing file')
    .addHelpText(
      'after',
      `
Examples:
  emulsion eval reference celeba/train --weights pt_inception-2015-12-05-6726825d.pth -o celeba.npz`,
    )
    .action(
      reporting(async (pictures: string, options: ReferenceFileOptions) => {
        await (await import('./eval_folder.js')).writeReference(pictures, options);
      }),
    );
}

function nearest(): Command {
  return withMetricOptions(newCommand('nearest'))
    .description('show the nearest training picture beside each sample')
    .argument('<samples>', 'a folder, or a .npz file of pictures')
    .requiredOption('--training <folder>', 'what the model was trained on')
    .option('-n, --count <n>', 'pairs to show, the nearest ones', integer(1), 32)
    .requiredOption('-o, --output <file>', 'the picture, as PNG')
    .option('--json', 'print all pairs as JSON')
    .option('--force', 'overwrite an existing file')
    .addHelpText(
      'after',
      `
Examples:
  emulsion eval nearest samples --training celeba/train --extractor emoji -n 16 -o nearest.png`,
    )
    .action(
      reporting(async (samples: string, options: NearestCommandOptions) => {
        await (await import('./eval_nearest.js')).showNearest(samples, options);
      }),
    );
}

function compare(): Command {
  return newCommand('compare')
    .description('show results side by side, if they were measured alike')
    .argument('<results...>', 'files that the other commands wrote, at least two')
    .option('--vary <fields...>', 'what is meant to differ, such as sampling.steps or sampling')
    .option('--json', 'print as JSON')
    .addHelpText(
      'after',
      `
Examples:
  emulsion eval compare steps20.json steps200.json --vary sampling.steps`,
    )
    .action(
      reporting(async (results: string[], options: CompareCommandOptions) => {
        await (await import('./eval_compare.js')).compareResults(results, options);
      }),
    );
}

function withMetricOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--extractor <name>', 'inception, as the literature; emoji comes with the package')
        .choices(['inception', 'emoji'])
        .default('inception'),
    )
    .option('--weights <file>', 'of inception: pt_inception-2015-12-05-6726825d.pth')
    .addOption(
      new Option(
        '--resize <way>',
        'to its size: tf, as published numbers (default of inception), or clean',
      ).choices(['tf', 'clean']),
    )
    .option('--size <n>', 'cut the middle of each picture and resize it to this side', integer(1))
    .option('--device <name>', 'where to compute. Default: a GPU if there is one')
    .option('--quiet', 'no progress');
}

function withReferenceOptions(command: Command): Command {
  return withMetricOptions(command)
    .requiredOption('--reference <path>', 'a folder, a .npz file of pictures, or one of statistics')
    .option('--cache <folder>', "where references' features are kept. Default: ~/.cache/emulsion")
    .option('--no-cache', 'keep no features of the reference')
    .option('--no-neighbours', 'leave out precision, recall, density and coverage')
    .option('--json', 'print the result as JSON');
}

function withResultFile(command: Command): Command {
  return command
    .option('-o, --output <file>', 'also write the result, as JSON')
    .option('--force', 'overwrite an existing file');
}

function withLpips(command: Command): Command {
  return command
    .option('--lpips-vgg <file>', "also measure LPIPS: torchvision's vgg16-397923af.pth")
    .option('--lpips-heads <file>', 'and the learnt layers, vgg.pth of LPIPS 0.1');
}
