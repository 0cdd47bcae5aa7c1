// `emulsion layout2img`: its options and help. The work is loaded when it is asked for.
import type { Command } from 'commander';
import { integer, newCommand, reporting } from './run.js';
import {
  withSamplingOptions,
  withSizeOption,
  type SamplingCommandOptions,
  type SizeOption,
} from './sampling_options.js';

/** Options of `emulsion layout2img`, as the command line gives them. */
export interface LayoutCommandOptions extends SamplingCommandOptions {
  layout: string[];
  count: number;
  classNames?: string;
  size?: SizeOption;
}

/** The command that makes pictures of layouts. */
export function layoutCommand(): Command {
  return withSizeOption(withSamplingOptions(newCommand('layout2img')))
    .description('make pictures of things in given places, with a model that was trained on boxes')
    .requiredOption('--layout <file...>', 'JSON files that say what is where')
    .option('-n, --count <n>', 'pictures of each layout', integer(1), 1)
    .option(
      '--class-names <file>',
      "the categories' names, a line each, in the training's order. Default: the model folder's",
    )
    .addHelpText(
      'after',
      `
A layout is a list of boxes [x, y, width, height] in shares of the picture, each with a category by name or number:
  {"boxes": [{"category": "dog", "box": [0.1, 0.4, 0.5, 0.6]}, {"category": "ball", "box": [0.7, 0.8, 0.1, 0.1]}]}
With "width" and "height" beside them the boxes are in pixels of a picture of that size.

Examples:
  emulsion layout2img --model logs/scenes/model --layout scene.json -n 4 --steps 200 -o scenes
  emulsion layout2img --model layout.ckpt --preset layout2img-openimages256 --layout a.json b.json -o scenes

Beside each picture 000000.png lies 000000_boxes.png, which shows its layout.`,
    )
    .action(
      reporting(async (options: LayoutCommandOptions) => {
        await (await import('./layout2img_pictures.js')).layoutPictures(options);
      }),
    );
}
