// The command `emulsion` and its subcommands, a file for each beside this one.
import type { Command } from 'commander';
import { classCommand } from './class2img.js';
import { convertCommand } from './convert.js';
import { doctorCommand } from './doctor.js';
import { evalCommand } from './eval.js';
import { firstStageCommands } from './first_stage_commands.js';
import { inpaintCommand } from './inpaint.js';
import { inspectCommand } from './inspect.js';
import { layoutCommand } from './layout2img.js';
import { reportCommand } from './report.js';
import { newCommand } from './run.js';
import { sampleCommand } from './sample.js';
import { semantic2imgCommand } from './semantic2img.js';
import { throughputCommand } from './throughput.js';
import { trainCommand } from './train.js';
import { textCommand } from './txt2img.js';
import { upscaleCommand } from './upscale.js';
import { packageVersion } from './version.js';

/** The whole command line. */
export function makeProgram(): Command {
  const program = newCommand('emulsion')
    .description('Latent diffusion for Node.js')
    .version(packageVersion)
    .addHelpText(
      'after',
      `
Examples:
  What this machine offers:
    emulsion doctor

  From a folder of pictures to an autoencoder, a diffusion model on its latents, and new pictures:
    emulsion train --base configs/first_stage/folder64-kl-f4.yaml data.params.train.params.data_root=photos
    emulsion train --base configs/folder64-ldm.yaml --cache-latents data.params.train.params.data_root=photos
    emulsion sample --model logs/folder64-ldm -n 16 --grid -o samples

\`emulsion COMMAND --help\` tells the options of a command, with examples.`,
    )
    // A command with subcommands leaves to them the options behind their names.
    .enablePositionalOptions();
  for (const command of [
    doctorCommand(),
    trainCommand(),
    sampleCommand(),
    textCommand(),
    classCommand(),
    layoutCommand(),
    semantic2imgCommand(),
    inpaintCommand(),
    upscaleCommand(),
    ...firstStageCommands(),
    evalCommand(),
    convertCommand(),
    inspectCommand(),
    throughputCommand(),
    reportCommand(),
  ])
    program.addCommand(command);
  return program;
}
