#!/usr/bin/env node
// Starts the command `emulsion`.
import { makeProgram } from './program.js';

// A reader that has seen enough, such as `head`, ends the command; that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

await makeProgram().parseAsync();
