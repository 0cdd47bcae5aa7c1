// `emulsion throughput`: its options and help. The work is loaded when it is asked for.
import { InvalidArgumentError, Option, type Command } from 'commander';
import { decimal, integer, newCommand, reporting } from './run.js';
import { samplerNames, type SamplerName } from './samplers.js';

/** Options of `emulsion throughput`, as the command line gives them. */
export interface ThroughputCommandOptions {
  model: string;
  preset?: string;
  config?: string;
  ema?: boolean;
  raw?: boolean;
  sampler: SamplerName[];
  steps: number[];
  batch: number[];
  repeats: number;
  guidance?: number;
  capture: boolean;
  seed: number;
  quality?: QualityGiven[];
  qualityName?: string;
  output: string;
  plot?: string;
  device?: string;
  force?: boolean;
  json?: boolean;
  quiet?: boolean;
}

/** How good samples of so many steps are; of one sampler, or of all. */
export interface QualityGiven {
  readonly sampler?: SamplerName;
  readonly steps: number;
  readonly value: number;
}

/** The command that measures how fast a model samples. */
export function throughputCommand(): Command {
  const numbers = (text: string, before: number[] | undefined) => [
    ...(before ?? []),
    integer(1)(text),
  ];
  return newCommand('throughput')
    .description('measure samples per second and memory for samplers, steps and batch sizes')
    .requiredOption(
      '--model <path>',
      'a saved model folder, the folder of a run, or a checkpoint file with --preset or --config',
    )
    .option('--preset <name>', 'the architecture of a checkpoint file, such as ffhq256')
    .option('--config <file>', "or its configuration, the original's YAML")
    .option('--ema', 'the moving average of the weights (default where there is one)')
    .option('--raw', 'the weights as they were trained last')
    .addOption(
      new Option('--sampler <name...>', 'how pictures are found')
        .choices(samplerNames)
        .default(['ddim']),
    )
    .option('--steps <n...>', 'of the sampler. Default 10 20 50 100 200', numbers)
    .option('--batch <n...>', 'pictures at once. Default 4', numbers)
    .option('--repeats <n>', 'of each measurement; the median counts', integer(1), 3)
    .option('--guidance <scale>', 'of classifier-free guidance. Default 1: none', decimal(0))
    .option('--no-capture', 'launch each kernel by itself where a GPU could replay them as one')
    .option('--seed <n>', 'of the first picture', integer(0), 0)
    .option(
      '--quality <steps=value...>',
      'how good the samples of so many steps are, or of a sampler, as ddim:50=17.3',
      quality,
    )
    .option('--quality-name <text>', 'what that is, such as FID')
    .requiredOption('-o, --output <file>', 'the measurements, JSON')
    .option('--plot <file>', 'and a plot of them, .svg or .png', plotFile)
    .option('--device <name>', 'where to compute. Default: a GPU if there is one')
    .option('--force', 'overwrite existing files')
    .option('--json', 'print the measurements as JSON as well')
    .option('--quiet', 'no progress and no table')
    .addHelpText(
      'after',
      `
Examples:
  emulsion throughput --model logs/celeba256 --sampler ddim dpm++ --steps 10 20 50 -o throughput.json
  emulsion throughput --model logs/celeba256 --batch 1 4 16 --plot throughput.svg -o throughput.json
  emulsion throughput --model logs/celeba256 --quality 10=38.1 50=17.3 --quality-name FID -o throughput.json

The plot has the axes of figure 7 of the paper. Ctrl-C keeps what is measured.`,
    )
    .action(
      reporting(async (options: ThroughputCommandOptions) => {
        await (await import('./throughput_run.js')).throughput(options);
      }),
    );
}

function quality(text: string, before: QualityGiven[] | undefined): QualityGiven[] {
  const match = /^(?:(.+):)?(\d+)=(.+)$/.exec(text);
  const value = match && match[3].trim() !== '' ? Number(match[3]) : NaN;
  const sampler = match?.[1] as SamplerName | undefined;
  if (!Number.isFinite(value) || (sampler !== undefined && !samplerNames.includes(sampler)))
    throw new InvalidArgumentError('Expected STEPS=VALUE or SAMPLER:STEPS=VALUE.');
  return [...(before ?? []), { sampler, steps: Number(match![2]), value }];
}

function plotFile(text: string): string {
  if (/\.(svg|png)$/i.test(text)) return text;
  throw new InvalidArgumentError('Expected a file .svg or .png.');
}
