// npm run parity -- DIR: compares this library with golden numbers of the original.
import { Command } from 'commander';
import { setDefaultDevice } from '../../lib/index.js';
import { adapters } from './adapters/index.js';
import { runParity } from './runner.js';
import { setPrecision } from './tensors.js';

const program = new Command('parity')
  .description('Compares emulsion with golden numbers of the original implementation.')
  .argument('<paths...>', 'folders of golden files, or single files')
  .option('--verbose', 'also list the cases that pass', false)
  .option('--float64', 'compute in float64, on the CPU', false)
  .option('--device <name>', 'where to compute; default: a GPU if there is one')
  .parse();
const { verbose, float64, device } = program.opts<{
  verbose: boolean;
  float64: boolean;
  device?: string;
}>();
if (float64) setPrecision('float64');
if (device ?? float64) setDefaultDevice(device ?? 'cpu');

const total = { passed: 0, failed: 0, skipped: 0 };
for (const path of program.args) {
  const report = await runParity(path, { adapters, verbose });
  total.passed += report.passed;
  total.failed += report.failed;
  total.skipped += report.skipped;
}
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed > 0 || total.passed + total.skipped === 0 ? 1 : 0);
