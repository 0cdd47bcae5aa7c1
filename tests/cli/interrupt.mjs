// Loaded by a command under test: it sends itself a signal at the moment when it has written a file. Who
// watched the file from outside might come too late on a busy machine.
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { resolve } from 'node:path';

const { EMULSION_TEST_SIGNAL: signal, EMULSION_TEST_FILE: file } = process.env;
const { rename } = promises;
let sent = false;
promises.rename = async (from, to) => {
  await rename(from, to); // how every file is completed
  if (sent || resolve(to) !== file) return;
  sent = true;
  // Twice, as npx passes signals on.
  for (let i = 0; i < 2; ++i) process.kill(process.pid, signal);
};
syncBuiltinESMExports();
