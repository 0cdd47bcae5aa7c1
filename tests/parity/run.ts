// npm run parity -- DIR [--verbose] [--float64]: compares this library with golden numbers of the original.
import { adapters } from './adapters/index.js';
import { runParity } from './runner.js';
import { setPrecision } from './tensors.js';

const paths = process.argv.slice(2).filter((argument) => !argument.startsWith('-'));
const verbose = process.argv.includes('--verbose');
if (process.argv.includes('--float64')) setPrecision('float64');

if (paths.length === 0) {
  console.error(
    'usage: npm run parity -- DIR [--verbose] [--float64]\nDIR: a folder of golden files, or one file.',
  );
  process.exit(2);
}

const total = { passed: 0, failed: 0, skipped: 0 };
for (const path of paths) {
  const report = await runParity(path, { adapters, verbose });
  total.passed += report.passed;
  total.failed += report.failed;
  total.skipped += report.skipped;
}
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed > 0 || total.passed + total.skipped === 0 ? 1 : 0);
