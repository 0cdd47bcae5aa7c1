// `emulsion txt2img`: its options and help. The work is loaded when it is asked for.
import type { Command } from 'commander';
import { integer, newCommand, reporting } from './run.js';
import {
  withSamplingOptions,
  withSizeOption,
  type SamplingCommandOptions,
  type SizeOption,
} from './sampling_options.js';

/** Options of `emulsion txt2img`, as the command line gives them. */
export interface TextCommandOptions extends SamplingCommandOptions {
  fromFile?: string;
  count: number;
  negative?: string;
  tokenizer?: string;
  size?: SizeOption;
}

/** The command that makes pictures of texts. */
export function textCommand(): Command {
  const command = withSamplingOptions(newCommand('txt2img'), { guidance: '5, and 1 for none' });
  return withSizeOption(command)
    .description('make pictures of texts')
    .argument('[prompts...]', 'texts, each in quotes; each fills a row of --grid')
    .option('--from-file <file>', 'or a file of texts, a line each')
    .option('-n, --count <n>', 'pictures of each text', integer(1), 1)
    .option('--negative <text>', 'what guidance leads away from, instead of from nothing')
    .option(
      '--tokenizer <path>',
      "the tokenizer's files, such as vocab.txt of bert-base-uncased. Default: the model folder's",
    )
    .addHelpText(
      'after',
      `
Examples:
  emulsion txt2img "a red fox in the snow" --model logs/captions/model -n 4 --grid -o foxes
  emulsion txt2img "a virus monster playing guitar" --model text2img-large.ckpt --preset txt2img-1p4B \\
    --tokenizer bert-base-uncased/vocab.txt -n 4 --steps 200 -o out
  emulsion txt2img "a lighthouse at night" --model sd-v1-4.ckpt --preset stable-diffusion-v1 \\
    --tokenizer clip-vit-large-patch14/tokenizer.json --sampler plms --guidance 7.5 --negative "blurry, text" -o out
  emulsion txt2img --from-file prompts.txt --model logs/captions/model -n 2 -o out

A text that is longer than the encoder reads loses its end, with a warning. Pictures are numbered on from those
in the folder, and picture k is made from seed + k. sampling_config.json tells how each was made.`,
    )
    .action(
      reporting(async (prompts: string[], options: TextCommandOptions) => {
        await (await import('./txt2img_pictures.js')).textPictures(prompts, options);
      }),
    );
}
