// What every command that makes pictures with a diffusion model can be told.
import { InvalidArgumentError, Option, type Command } from 'commander';
import { decimal, integer } from './run.js';
import { samplerNames, spacingNames, type SamplerName, type SpacingName } from './samplers.js';

/** Options of {@link withSamplingOptions}, as the command line gives them. */
export interface SamplingCommandOptions {
  model: string;
  preset?: string;
  config?: string;
  ema?: boolean;
  raw?: boolean;
  batch?: number;
  sampler: SamplerName;
  steps?: number;
  spacing?: SpacingName;
  eta?: number;
  guidance?: number;
  seed: number;
  grid?: boolean;
  npz?: boolean;
  output: string;
  device?: string;
  json?: boolean;
  quiet?: boolean;
}

/** Adds the options that say which model, as `openDiffusionModel` takes them. */
export function withModelOptions(command: Command): Command {
  return command
    .requiredOption(
      '--model <path>',
      'a saved model folder, the folder of a run, or a checkpoint file with --preset or --config',
    )
    .option('--preset <name>', 'the architecture of a checkpoint file, such as ffhq256')
    .option('--config <file>', "or its configuration, the original's YAML")
    .option('--ema', 'the moving average of the weights (default where there is one)')
    .option('--raw', 'the weights as they were trained last');
}

interface DefaultsInWords {
  batch?: string;
  guidance?: string;
  steps?: string;
  eta?: string;
}

/**
 * Adds the options that say which model and how it is sampled.
 * @param defaults what the command does without these options, in words
 */
export function withSamplerOptions(
  command: Command,
  {
    batch = '1 on a CPU, 4 on a GPU',
    guidance = '1: none',
    steps = '50',
    eta = '0',
  }: DefaultsInWords = {},
): Command {
  return withModelOptions(command)
    .option('--batch <n>', `pictures at once. Default ${batch}`, integer(1))
    .addOption(
      new Option('--sampler <name>', 'how pictures are found')
        .choices(samplerNames)
        .default('ddim'),
    )
    .option('--steps <n>', `of the sampler. Default ${steps}; ddpm takes all`, integer(1))
    .addOption(
      new Option(
        '--spacing <name>',
        'of the steps: uniform (default) or quad for ddim and plms; for dpm++, euler, euler-a and unipc the others, linspace by default',
      ).choices(spacingNames),
    )
    .option('--eta <number>', `noise of ddim (default ${eta}) and euler-a (default 1)`, decimal(0))
    .option('--guidance <scale>', `of classifier-free guidance. Default ${guidance}`, decimal(0))
    .option('--seed <n>', 'of picture 0; picture k has the seed that is k more', integer(0), 0);
}

/** And those that say where the pictures go; `defaults` as those of {@link withSamplerOptions}. */
export function withSamplingOptions(command: Command, defaults: DefaultsInWords = {}): Command {
  return withSamplerOptions(command, defaults)
    .option('--grid', 'also write all pictures as one')
    .option('--npz', "also write them as NumPy's .npz, uint8 [N, H, W, 3] under arr_0")
    .requiredOption('-o, --output <folder>', 'where the pictures go, as PNG')
    .option('--device <name>', 'where to compute. Default: a GPU if there is one')
    .option('--json', 'print the files, their seeds and the time as JSON')
    .option('--quiet', 'no progress and no summary');
}

/** A size on the command line: both sides, or one that stands for the square or the shorter side. */
export type SizeOption = readonly [width: number, height: number] | number;

const largestSide = 16_384;

/** A parser of sizes in pixels: `WIDTHxHEIGHT`, or one side. */
export function size(text: string): SizeOption {
  const sides = /^(\d{1,6})(?:x(\d{1,6}))?$/.exec(text)?.slice(1);
  const [width, height] = (sides ?? []).map((side) =>
    side === undefined ? undefined : Number(side),
  );
  if ([width ?? 0, height ?? width ?? 0].every((side) => side >= 1 && side <= largestSide))
    return height === undefined ? width! : [width!, height];
  throw new InvalidArgumentError(
    `Expected WIDTHxHEIGHT, such as 768x512, or one side, in pixels up to ${largestSide}.`,
  );
}

/** Adds the size of pictures that nothing else decides. */
export function withSizeOption(command: Command): Command {
  return command.option(
    '--size <pixels>',
    'WIDTHxHEIGHT, or the side of a square. Default: what the model was trained on',
    size,
  );
}

/** What {@link withSizeOption} asks for. */
export function pixelSize(asked?: SizeOption): [height: number, width: number] | undefined {
  if (asked === undefined) return undefined;
  return typeof asked === 'number' ? [asked, asked] : [asked[1], asked[0]];
}
