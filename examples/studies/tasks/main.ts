// The study of every way to condition: trains a small model for each task of the paper on emoji, measures on
// what it has not seen whether the condition is obeyed, and writes one page. Started again after an
// interruption it goes on where it was.
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { integer } from '../../../lib/cli/run.js';
import { defaultDevice, writeFileAtomic } from '../../../lib/index.js';
import { Workshop } from './context.js';
import { held, lead, page, summaryTable, writeCurves, type Row } from './report.js';
import type { Claim, StudyContext, TaskResult, TaskStudy } from './study.js';
import { tasks } from './tasks.js';

const names = tasks.map(({ name }) => name);
const options = new Command('study:tasks')
  .description('Train a small model for every task on emoji, and measure what its condition does.')
  .option('--quick', 'a check that everything runs: few steps on few drawings')
  .addOption(new Option('--only <task...>', 'these tasks').choices(names))
  .option(
    '--seed <number>',
    'of everything but the first stage; each but 0 has a folder of its own',
    integer(0),
    0,
  )
  .option('--out <folder>', 'where everything is written', 'out/study/tasks')
  .parse()
  .opts<{ quick?: boolean; only?: string[]; seed: number; out: string }>();

const { seed } = options;
const scale = options.quick ? 0.005 : 1;
const shared = resolve(options.out, options.quick ? 'quick' : '.');
const out = seed === 0 ? shared : join(shared, `seed-${seed}`);
const interrupt = new AbortController();
process.once('SIGINT', () => interrupt.abort());
process.once('SIGTERM', () => interrupt.abort());

async function main(): Promise<void> {
  const { signal } = interrupt;
  const limit = options.quick ? 200 : undefined;
  const workshop = await Workshop.open({ folder: out, shared, seed, scale, signal, limit });
  const rows: Row[] = [];
  for (const study of tasks.filter(({ name }) => options.only?.includes(name) ?? true)) {
    mkdirSync(join(out, study.name), { recursive: true });
    const { claim } = study;
    const context = workshop.context(study.name);
    context.log(
      `claimed: ${claim.metric} beats ${claim.baseline} by ${claim.margin} ${claim.unit}`,
    );
    const row = { study, result: await resultOf(study, context) };
    rows.push(row);
    await writeCurves(out, row);
    const { value, baseline } = row.result;
    context.log(
      `${value.toPrecision(4)} against ${baseline.toPrecision(4)}, a lead of ` +
        `${lead(claim, row.result).toPrecision(3)} ${claim.unit}: ${held(row) ? 'held' : 'NOT held'}`,
    );
  }
  const settings = `Device: ${defaultDevice().name}. Seed ${seed}, ${scale} of the study's steps.`;
  await writeFileAtomic(join(out, 'index.md'), page(rows, settings));
  console.log(`\n${summaryTable(rows)}\n\nlook at ${join(out, 'index.md')}`);
  if (!options.quick && !rows.every(held)) process.exitCode = 1;
}

/** Of an earlier run, if it was of the same claim. */
async function resultOf(study: TaskStudy, context: StudyContext): Promise<TaskResult> {
  const path = join(out, study.name, 'result.json');
  const claimed = JSON.stringify(study.claim);
  if (existsSync(path)) {
    const earlier = JSON.parse(readFileSync(path, 'utf8')) as { claim: Claim; result: TaskResult };
    if (JSON.stringify(earlier.claim) === claimed) return earlier.result;
  }
  const result = await study.run(context);
  await writeFileAtomic(path, `${JSON.stringify({ claim: study.claim, result }, null, 2)}\n`);
  return result;
}

try {
  await main();
} catch (error) {
  if (!interrupt.signal.aborted) throw error;
  console.log('interrupted; the same command goes on from here');
  process.exitCode = 130;
}
