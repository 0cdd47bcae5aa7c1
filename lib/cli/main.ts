#!/usr/bin/env node
// The command `emulsion`: one file per subcommand beside this one.
import { convertCommand } from './convert.js';
import { doctor } from './doctor.js';
import { firstStageCommands } from './first_stage_commands.js';
import { newCommand } from './run.js';
import { trainCommand } from './train.js';
import { packageVersion } from './version.js';

const program = newCommand('emulsion')
  .description('Latent diffusion for Node.js')
  .version(packageVersion);

program
  .command('doctor')
  .description('tell what this machine offers, what the engine uses of it, and why not more')
  .action(doctor);

for (const command of [...firstStageCommands(), convertCommand(), trainCommand()])
  program.addCommand(command);

await program.parseAsync();
