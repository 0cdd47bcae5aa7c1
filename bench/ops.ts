// Times the op cases marked `bench` against the measured limits of this machine.
//   npm run bench [-- --filter TEXT] [--json FILE]
import { add, suite } from 'benny';
import { Command } from 'commander';
import { backward, device, onesLike, tidy, type Tensor } from '../lib/index.js';
import type { OpCase } from '../tests/ops/cases.js';
import { loadOpCases } from '../tests/support/load_cases.js';
import {
  asList,
  caseInputs,
  differentiableInputs,
  inputTensors,
} from '../tests/support/run_case.js';
import { measureMachine } from './machine.js';
import { printMachine, printTable, writeResults, type Measurement } from './table.js';

const options = new Command('bench')
  .description('Times the op cases marked `bench`.')
  .option('--filter <text>', 'only ops and cases whose name contains the text', '')
  .option('--json <file>', 'write the numbers to a file too')
  .parse()
  .opts<{ filter: string; json?: string }>();

const cpu = device('cpu');
const on = { dtype: 'float32', device: cpu } as const;
/** A sample repeats the op until it is long against the cost of waiting for the queue. */
const sampleSeconds = 0.02;

const machine = await measureMachine();
printMachine(machine);
const measurements: Measurement[] = [];
for (const { op, cases } of await loadOpCases())
  for (const opCase of cases)
    if (opCase.bench && `${op} ${opCase.name}`.includes(options.filter))
      measurements.push(...(await measureCase(op, opCase)));
printTable(measurements, machine);
if (options.json) writeResults(options.json, machine, measurements);

async function measureCase(op: string, opCase: OpCase): Promise<Measurement[]> {
  return tidy(async () => {
    const values = caseInputs(op, opCase, on.dtype);
    const plain = inputTensors(opCase, values, on.dtype, cpu);
    let bytes = opCase.bytes ?? 0;
    const forward = () => {
      const outputs = asList(opCase.run(plain, on));
      if (!opCase.bytes) bytes = sumBytes([...Object.values(plain), ...outputs]);
    };
    const common = { op, case: opCase.name, dtype: on.dtype };
    const timed = await time(`${op}: ${opCase.name}`, forward);
    const found: Measurement[] = [
      { ...common, pass: 'forward', ...timed, flops: opCase.flops, bytes },
    ];

    const wanted = differentiableInputs(opCase);
    if (wanted.length === 0) return found;
    const tracked = inputTensors(opCase, values, on.dtype, cpu, wanted);
    const step = () => {
      for (const output of asList(opCase.run(tracked, on)))
        if (output.requiresGrad) backward(output, onesLike(output), { retainGraph: true });
      for (const name of wanted) {
        tracked[name].grad?.dispose();
        tracked[name].grad = null;
      }
    };
    // Backward reads what forward did and writes as much; products cost two more products.
    const flops = opCase.flops && 3 * opCase.flops;
    found.push({
      ...common,
      pass: 'step',
      ...(await time(`${op}: ${opCase.name}, step`, step)),
      flops,
      bytes: 3 * bytes,
    });
    return found;
  });
}

/** Seconds of one run and their relative margin, sampled by benny. */
async function time(name: string, run: () => void): Promise<{ seconds: number; margin: number }> {
  const repeat = async (count: number) => {
    for (let i = 0; i < count; i++) tidy(run);
    await cpu.synchronize();
  };
  await repeat(1); // touches the memory that the measured runs reuse
  const start = process.hrtime.bigint();
  await repeat(1);
  const once = Number(process.hrtime.bigint() - start) / 1e9;
  const count = Math.min(1000, Math.max(1, Math.round(sampleSeconds / once)));
  const { results } = await suite(
    name,
    add(name, () => () => repeat(count), { minSamples: 5, maxTime: 0.5 }),
  );
  const { median, relativeMarginOfError } = results[0].details;
  return { seconds: median / count, margin: relativeMarginOfError / 100 };
}

function sumBytes(tensors: readonly Tensor[]): number {
  return tensors.reduce((sum, { bytes }) => sum + bytes, 0);
}
