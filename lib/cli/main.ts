#!/usr/bin/env node
// The command `emulsion`: one file per subcommand beside this one.
import { classCommand } from './class2img.js';
import { convertCommand } from './convert.js';
import { doctor } from './doctor.js';
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

const program = newCommand('emulsion')
  .description('Latent diffusion for Node.js')
  .version(packageVersion)
  // A command with subcommands leaves to them the options behind their names.
  .enablePositionalOptions();

program
  .command('doctor')
  .description('tell what this machine offers, what the engine uses of it, and why not more')
  .option('--json', 'print it as JSON')
  .action(doctor);

for (const command of [
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

// A reader that has seen enough, such as `head`, ends the command; that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

await program.parseAsync();
