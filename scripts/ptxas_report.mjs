// Registers, shared memory and spills of every CUDA kernel, as ptxas tells them: docs/cuda-kernels.md.
//   node scripts/ptxas_report.mjs [FILE.cu ...]    prints the table; with --write, writes the document
// A template's instantiations share a row that shows the largest of each figure.
import { execFile, spawnSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { kernelName } from './kernel_names.mjs';
import { spillNotes } from './ptxas_notes.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = join(root, 'native/cuda');
const architectures = ['80', '90a'];
const document = join(root, 'docs/cuda-kernels.md');

const args = process.argv.slice(2);
const files = args.filter((each) => each.endsWith('.cu'));
const sources = (files.length ? files : readdirSync(folder).filter((name) => name.endsWith('.cu')))
  .map((name) => basename(name))
  .sort();

/** What ptxas says about each kernel of a file for one architecture. */
async function report(source, architecture) {
  const { stderr } = await promisify(execFile)(
    'nvcc',
    ['-std=c++20', '--expt-relaxed-constexpr', '-O3', '-Inative', '-cubin', '-Xptxas', '-v']
      .concat(`-gencode=arch=compute_${architecture},code=sm_${architecture}`)
      .concat('-o', '/dev/null', join('native/cuda', source)),
    { cwd: root, maxBuffer: 2 ** 28 },
  );
  const kernels = [];
  for (const line of stderr.split('\n')) {
    const entry = /Compiling entry function '([^']+)'/.exec(line);
    if (entry) kernels.push({ symbol: entry[1], spills: 0, registers: 0, shared: 0, stack: 0 });
    const kernel = kernels.at(-1);
    if (!kernel) continue;
    const frame = /(\d+) bytes stack frame, (\d+) bytes spill stores/.exec(line);
    // Functions that were not inlined report frames of their own, behind "Function properties".
    if (frame) {
      kernel.stack = Math.max(kernel.stack, Number(frame[1]));
      kernel.spills = Math.max(kernel.spills, Number(frame[2]));
    }
    const used = /Used (\d+) registers/.exec(line);
    if (used) kernel.registers = Number(used[1]);
    const shared = /(\d+) bytes smem/.exec(line);
    if (shared) kernel.shared = Number(shared[1]);
  }
  return kernels;
}

function kernelNames(symbols) {
  const { stdout } = spawnSync('c++filt', { input: symbols.join('\n'), encoding: 'utf8' });
  return stdout.trim().split('\n').map(kernelName);
}

const rows = new Map();
const queue = sources.flatMap((source) => architectures.map((each) => [source, each]));
await Promise.all(
  Array.from({ length: availableParallelism() }, async () => {
    for (let job = queue.shift(); job; job = queue.shift()) {
      const [source, architecture] = job;
      const kernels = await report(source, architecture);
      const names = kernelNames(kernels.map(({ symbol }) => symbol));
      kernels.forEach((kernel, i) => {
        const key = `${source} ${names[i]}`;
        const row = rows.get(key) ?? { source, name: names[i], figures: {} };
        rows.set(key, row);
        const known = row.figures[architecture] ?? {
          count: 0,
          registers: 0,
          shared: 0,
          stack: 0,
          spills: 0,
        };
        row.figures[architecture] = {
          count: known.count + 1,
          registers: Math.max(known.registers, kernel.registers),
          shared: Math.max(known.shared, kernel.shared),
          stack: Math.max(known.stack, kernel.stack),
          spills: Math.max(known.spills, kernel.spills),
        };
      });
    }
  }),
);

const cells = (row) =>
  architectures.flatMap((each) => {
    const { registers = '', stack = '', spills = '' } = row.figures[each] ?? {};
    return [registers, stack, spills];
  });
const table = [...rows.values()]
  .sort((a, b) => (a.source + a.name < b.source + b.name ? -1 : 1))
  .map((row) => {
    const { count, shared } = Object.values(row.figures)[0];
    const spilled = Object.values(row.figures).some(({ spills, stack }) => spills > 0 || stack > 0);
    const note = spillNotes[`${row.source} ${row.name}`] ?? (spilled ? 'not explained' : '');
    return `| ${[row.source, row.name, count, shared, ...cells(row), note].join(' | ')} |`;
  });
const text = `# The CUDA kernels in figures

Written by \`node scripts/ptxas_report.mjs --write\` from what \`ptxas -v\` says for sm_80 and sm_90a. A row is a kernel
template, and, where files share one, the loaders, epilogue or reduction that it is made of; its figures are the largest
among its instantiations: static shared memory in bytes (dynamic shared memory is chosen at the launch), then registers
per thread, stack frame and spilled bytes for each architecture.

| file | kernel | instantiations | shared | regs 80 | stack 80 | spills 80 | regs 90a | stack 90a | spills 90a | note |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
${table.join('\n')}
`;
if (args.includes('--write')) writeFileSync(document, text);
else console.log(text);
