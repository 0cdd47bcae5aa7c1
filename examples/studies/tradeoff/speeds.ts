// How fast the saved models sample, measured in turns: what else the machine does meets all of them alike.
import {
  defaultDevice,
  describeMachine,
  loadLatentDiffusion,
  measureThroughput,
  median,
  type MachineDescription,
  type ThroughputEntry,
} from '../../../lib/index.js';

/** Speeds of all models, and where they were measured. */
export interface Speeds {
  readonly machine: MachineDescription;
  /** Of each model, in the order of the numbers of steps. */
  readonly entries: readonly (readonly ThroughputEntry[])[];
}

export interface SpeedOptions {
  /** Saved models. */
  readonly folders: readonly string[];
  /** Numbers of DDIM steps. */
  readonly steps: readonly number[];
  readonly rounds: number;
  readonly signal: AbortSignal;
}

/** As many as `emulsion throughput` takes where it is not told. */
const batch = 4;

/** Measures every model with every number of steps, round after round. */
export async function measureSpeeds(options: SpeedOptions): Promise<Speeds> {
  const { folders, steps, rounds, signal } = options;
  const measured: ThroughputEntry[][][] = folders.map(() => []);
  for (let round = 1; round <= rounds; round++) {
    console.log(`speeds: round ${round} of ${rounds}`);
    for (const [i, folder] of folders.entries())
      measured[i].push(await once(folder, steps, signal));
  }
  return {
    machine: describeMachine(defaultDevice()),
    entries: measured.map((ofModel) =>
      steps.map((_, i) => together(ofModel.map((entries) => entries[i]))),
    ),
  };
}

/** One group of samples with each number of steps, of a model that is alone in memory. */
async function once(
  folder: string,
  steps: readonly number[],
  signal: AbortSignal,
): Promise<ThroughputEntry[]> {
  const model = await loadLatentDiffusion(folder);
  const cases = steps.map((count) => ({
    sampler: 'ddim',
    sampling: { method: 'ddim', steps: count } as const,
    steps: count,
    batch,
  }));
  const entries: ThroughputEntry[] = [];
  for await (const entry of measureThroughput(model, cases, { repeats: 1, signal }))
    entries.push(entry);
  model.dispose();
  return entries;
}

/** What the rounds found, as one. */
function together(rounds: readonly ThroughputEntry[]): ThroughputEntry {
  const { sampler, steps } = rounds[0];
  const seconds = rounds.flatMap((entry) => entry.seconds);
  return {
    sampler,
    steps,
    batch,
    seconds,
    samplesPerSecond: batch / median(seconds),
    peakBytes: Math.max(...rounds.map(({ peakBytes }) => peakBytes)),
  };
}
