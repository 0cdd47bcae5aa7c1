// The work of `emulsion throughput`: every sampler with every number of steps and batch size, in turn.
import { basename, dirname, resolve } from 'node:path';
import type { LatentDiffusion } from '../ldm/index.js';
import {
  describeMachine,
  measureThroughput,
  throughputPlot,
  writePlot,
  writeThroughput,
  type ThroughputCase,
  type ThroughputEntry,
  type ThroughputFile,
  type ThroughputOptions,
} from '../report/index.js';
import { openDiffusionModel } from './diffusion_model.js';
import { makeFolder, refuseToOverwrite } from './picture_files.js';
import { interruptible, printJson, UsageError } from './run.js';
import { samplerOf } from './samplers.js';
import { terminalBar } from './terminal_bar.js';
import type { ThroughputCommandOptions } from './throughput.js';

const colours = ['#2357c5', '#c2410c', '#0f766e', '#9333a8', '#8a6100', '#be185d'];

/** Measures, and writes what was measured; after Ctrl-C, what was until then. */
export async function throughput(options: ThroughputCommandOptions): Promise<void> {
  const { output, plot, force, json, quiet, seed, capture, guidance = 1 } = options;
  const files = [output, ...(plot === undefined ? [] : [plot])];
  for (const path of files) await refuseToOverwrite(path, { force });
  const opened = await openDiffusionModel(options, ({ conditioner }) => {
    if (guidance !== 1 && (conditioner?.kind ?? 'none') === 'none')
      throw new UsageError(`${options.model} has no condition that --guidance could strengthen.`);
  });
  const { model } = opened;
  const size = sizeOf(model);
  const cases = casesOf(options, model.diffusion.schedule.timesteps);
  for (const path of files) await makeFolder(dirname(path));
  const file: ThroughputFile = {
    kind: 'emulsion throughput',
    version: 1,
    model: basename(resolve(options.model)).slice(0, 1000),
    size,
    parameters: model.parameterCount(),
    guidance,
    ...(!capture && { capture }),
    decoded: true,
    seed,
    complete: false,
    ...(options.qualityName !== undefined && { qualityName: options.qualityName.slice(0, 1000) }),
    machine: describeMachine(model.betas.device),
    entries: [],
  };
  const { entries } = file;
  // Written after every measurement: whatever ends the command, what is measured is kept.
  file.complete = await measured(model, cases, options, async (entry) => {
    entries.push(judged(entry, options));
    await writeThroughput(output, file);
  });
  if (entries.length > 0) {
    await writeThroughput(output, file);
    if (plot !== undefined)
      await writePlot(plot, throughputPlot([{ name: file.model, file }], colours));
  }
  if (!file.complete) process.exitCode = 130;
  if (json) printJson(file);
  else if (!file.complete)
    console.log(`Interrupted: ${entries.length} of ${cases.length} measurements are in ${output}.`);
  else if (!quiet) console.log(tableOf(entries));
}

/** @returns whether all cases were measured before Ctrl-C */
function measured(
  model: LatentDiffusion,
  cases: readonly ThroughputCase[],
  options: ThroughputCommandOptions,
  keep: (entry: ThroughputEntry) => Promise<void>,
): Promise<boolean> {
  const { repeats, seed, guidance, capture } = options;
  const total = cases.reduce((sum, { steps }) => sum + steps, 0);
  const bar = terminalBar(
    '{bar} {what} | repeat {repeat}/{repeats} | {eta_formatted} left',
    options,
  );
  bar?.start(total, 0, { what: '', repeat: 0, repeats });
  let before = 0;
  return interruptible('Stopping.', async (signal) => {
    const onStep: ThroughputOptions['onStep'] = ({ measured: each, repeat, step, steps }) => {
      // Repeat 0 is the warm-up.
      const share = repeat === 0 ? 0 : (repeat - 1 + (step + 1) / steps) / repeats;
      bar?.update(before + share * each.steps, { what: nameOf(each), repeat });
    };
    try {
      const sampling = { repeats, seed, guidance, capture, signal, onStep };
      for await (const entry of measureThroughput(model, cases, sampling)) {
        before += entry.steps;
        await keep(entry);
      }
      return true;
    } catch (error) {
      if (!signal.aborted || error !== signal.reason) throw error;
      return false;
    } finally {
      bar?.stop();
    }
  });
}

function casesOf(options: ThroughputCommandOptions, timesteps: number): ThroughputCase[] {
  const { sampler: samplers, steps = [10, 20, 50, 100, 200], batch: batches = [4] } = options;
  const most = Math.max(...steps);
  if (most > timesteps)
    throw new UsageError(
      `${options.model} was trained with ${timesteps} timesteps: --steps must be at most that.`,
    );
  // Batches outside: each is warmed up once.
  return [...new Set(batches)].flatMap((batch) =>
    [...new Set(samplers)].flatMap((sampler) => {
      const counts = sampler === 'ddpm' ? [timesteps] : [...new Set(steps)];
      return counts.map((count) => ({
        sampler,
        steps: count,
        batch,
        sampling: samplerOf({ sampler, ...(sampler !== 'ddpm' && { steps: count }) }),
      }));
    }),
  );
}

// What is said of a sampler goes before what is said of all.
function judged(
  entry: ThroughputEntry,
  { quality = [] }: ThroughputCommandOptions,
): ThroughputEntry {
  const own = quality.filter(({ steps }) => steps === entry.steps);
  const found =
    own.find(({ sampler }) => sampler === entry.sampler) ??
    own.find(({ sampler }) => sampler === undefined);
  return found ? { ...entry, quality: found.value } : entry;
}

function sizeOf({ spec, first_stage_model: stage }: LatentDiffusion): number[] {
  const side = (spec.imageSize ?? spec.unet.imageSize ?? 0) * stage.downsampling;
  if (side > 0) return [side, side];
  throw new UsageError('the model does not say how large its pictures are (imageSize).');
}

const nameOf = ({ sampler, steps, batch }: ThroughputCase): string =>
  `${sampler}, ${steps} steps, batch ${batch}`;

function tableOf(entries: readonly ThroughputEntry[]): string {
  const rows = entries.map(({ sampler, steps, batch, samplesPerSecond, peakBytes }) => [
    sampler,
    String(steps),
    String(batch),
    samplesPerSecond.toPrecision(3),
    `${Math.round(peakBytes / 2 ** 20)} MiB`,
  ]);
  const all = [['sampler', 'steps', 'batch', 'samples/s', 'peak of tensors'], ...rows];
  const widths = all[0].map((_, i) => Math.max(...all.map((row) => row[i].length)));
  return all
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
        .join('  '),
    )
    .join('\n');
}
