// emulsion beside PyTorch: the same work in both, in turns, on the same cores.
//   npm run bench:versus [-- --filter TEXT...] [--json FILE] [--python PYTHON] [--threads N] [--cold]
//   npm run bench:cuda   the same on a GPU: its layers and networks in bfloat16
import { Command } from 'commander';
import { engineInfo, setNumThreads } from '../../lib/index.js';
import { measureBandwidth, measureMachine, measurePeakFlops, type Machine } from '../machine.js';
import { printMachine } from '../table.js';
import { cases, goals, type VersusCase } from './cases.js';
import { compare, type Comparison, type CompareOptions, type Limit } from './compare.js';
import { gpuCases, gpuCeilings, gpuGoals } from './gpu_cases.js';
import type { Setting } from './protocol.js';
import { findPytorch } from './pytorch.js';
import { printRow, printSummary, writeRows } from './report.js';
import { Side } from './side.js';

const options = new Command('bench:versus')
  .description('Times emulsion beside PyTorch on the same work.')
  .option('--filter <texts...>', 'only cases whose group or name contains one of the texts', [''])
  .option('--json <file>', 'write the rows to a file too')
  .option('--python <python>', 'a Python with PyTorch; default: one of our own, else the system’s')
  .option('--threads <number>', 'threads of both sides', String(engineInfo().threads))
  .option('--cold', 'single operations on inputs that no cache holds, as in a network')
  .option('--device <name>', "where both compute: 'cpu' or 'cuda:0'", 'cpu')
  .option('--dtype <dtype>', 'float32, bfloat16 or float16', 'float32')
  .parse()
  .opts<
    {
      filter: string[];
      json?: string;
      python?: string;
      threads: string;
      cold?: boolean;
    } & Pick<Setting, 'device' | 'dtype'>
  >();

const python = findPytorch(options.python);
const { device, dtype } = options;
const onGpu = device !== 'cpu';
if (onGpu && options.cold) {
  console.error(`bench:versus: --cold goes by a CPU's caches: leave it out, or --device ${device}`);
  process.exit(1);
}
setNumThreads(Number(options.threads)); // of what measures the machine
const startOurs = (threads = options.threads): Promise<Side> =>
  Side.start(process.execPath, [
    ...process.execArgv,
    'bench/versus/ours.ts',
    threads,
    device,
    dtype,
  ]);
const startTheirs = (): Promise<Side> =>
  Side.start(python, ['bench/versus/theirs/server.py', options.threads, device, dtype]);

const shared = { ours: await startOurs(), theirs: await startTheirs() };
const machine = onGpu ? await measureGpu(shared.theirs) : await measureMachine();
printMachine(machine);
console.log(
  `PyTorch ${shared.theirs.version} (${python}), ${device}, ${dtype}, ${options.threads} threads each\n`,
);

const wanted = onGpu ? gpuGoals : goals;
const about = { machine, pytorch: shared.theirs.version, goals: wanted };
const rows: Comparison[] = [];
const add = async (row: Comparison): Promise<void> => {
  rows.push(row);
  printRow(row);
  // A run takes a quarter of an hour: what it has measured is kept as it goes.
  if (options.json) await writeRows(options.json, rows, about);
};
for (const each of onGpu ? gpuCases(dtype) : cases) {
  const work = options.cold ? cold(each) : each;
  const name = `${work.group}: ${work.name}`;
  if (!options.filter.some((text) => name.includes(text))) continue;
  await add(
    work.fresh ? await inOwnProcesses(work) : await compare(work, shared, settingsOf(work)),
  );
  if (!onGpu && work.args.pass === 'step' && Number(options.threads) > 1)
    await add(await besideOneThread(work));
}
await shared.ours.stop();
await shared.theirs.stop();

printSummary(rows, wanted);
if (options.json) console.log(`\nwritten to ${options.json}`);

// So many sets that together they are twice the last cache.
function cold(work: VersusCase): VersusCase {
  const sets = work.bytes ? Math.ceil((2 * engineInfo().caches.last) / work.bytes) : 1;
  return work.fresh || sets === 1 ? work : { ...work, name: `${work.name}, cold`, sets };
}

function settingsOf(work: VersusCase): CompareOptions {
  const limit = limitOf(work);
  // A GPU has no threads that wait.
  return onGpu ? { limit, settleMilliseconds: 0 } : { limit };
}

// A virtual machine's clock and caches change with its neighbours' work: on a CPU the limit is that of the moment.
function limitOf({ flops, bytes }: VersusCase): Limit | undefined {
  if (flops !== undefined)
    return {
      amount: flops,
      perSecond: async () => (onGpu ? machine.peakFlops : measurePeakFlops(0.03)),
    };
  if (bytes !== undefined)
    return {
      amount: bytes,
      perSecond: async () => (onGpu ? machine.bandwidth : measureBandwidth(8)),
    };
  return undefined;
}

// What the GPU does at most, by PyTorch's largest matrix product and copy in this very run.
async function measureGpu(theirs: Side): Promise<Machine> {
  const seconds = async ({ work }: (typeof gpuCeilings)['flops']): Promise<number> => {
    await theirs.prepare(work);
    await theirs.run(3);
    return theirs.run(10);
  };
  const { flops, bytes } = gpuCeilings;
  return {
    ...(await measureMachine()),
    processor: theirs.version,
    level: device,
    peakFlops: flops.amount / (await seconds(flops)),
    bandwidth: bytes.amount / (await seconds(bytes)),
  };
}

async function inOwnProcesses(work: VersusCase): Promise<Comparison> {
  const sides = { ours: await startOurs(), theirs: await startTheirs() };
  const row = await compare(work, sides, settingsOf(work));
  row.peakMib = { ours: await sides.ours.peakMib(), theirs: await sides.theirs.peakMib() };
  await sides.ours.stop();
  await sides.theirs.stop();
  return row;
}

// The same step on one core: what the others add.
async function besideOneThread(work: VersusCase): Promise<Comparison> {
  const sides = { ours: await startOurs(), theirs: await startOurs('1') };
  const row = await compare(
    {
      ...work,
      group: 'threads',
      name: `${work.name}, ${options.threads} threads (theirs: ours on one)`,
    },
    sides,
    settingsOf(work),
  );
  await sides.ours.stop();
  await sides.theirs.stop();
  return row;
}
