// `emulsion class2img`: its options and help. The work is loaded when it is asked for.
import type { Command } from 'commander';
import { integer, newCommand, reporting } from './run.js';
import {
  withSamplingOptions,
  withSizeOption,
  type SamplingCommandOptions,
  type SizeOption,
} from './sampling_options.js';

/** Options of `emulsion class2img`, as the command line gives them. */
export interface ClassCommandOptions extends SamplingCommandOptions {
  count: number;
  classNames?: string;
  size?: SizeOption;
}

/** The command that makes pictures of classes. */
export function classCommand(): Command {
  const command = withSamplingOptions(newCommand('class2img'), {
    guidance: '3 where a class of the model means "none", else 1: none',
  });
  return withSizeOption(command)
    .description('make pictures of classes')
    .argument('<classes...>', 'ids or names; each fills a row of --grid')
    .option('-n, --count <n>', 'pictures of each class', integer(1), 1)
    .option('--class-names <file>', "the classes' names, a line each. Default: the model folder's")
    .addHelpText(
      'after',
      `
Examples:
  emulsion class2img otter "polar bear" --model logs/animals/model -n 4 --grid -o out
  emulsion class2img 207 980 --model cin256-v2.ckpt --preset cin256-v2 -n 4 --steps 20 --grid -o out
  emulsion class2img tench --model cin256-v2.ckpt --preset cin256-v2 --class-names imagenet_classes.txt -o out

A name may be one of several that a class has, as in ImageNet's "tench, Tinca tinca". Pictures are numbered on from
those in the folder, and picture k is made from seed + k. sampling_config.json tells how each was made.`,
    )
    .action(
      reporting(async (classes: string[], options: ClassCommandOptions) => {
        await (await import('./class2img_pictures.js')).classPictures(classes, options);
      }),
    );
}
