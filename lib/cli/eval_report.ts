// What the commands of `emulsion eval` share: the network, progress, and how a result is told.
import { stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { setDefaultDevice } from '../device.js';
import { FileError } from '../errors.js';
import {
  formatScore,
  PictureExtractor,
  presentScores,
  saveEvaluation,
  type Evaluation,
} from '../eval/index.js';
import { formatEvaluation } from '../eval/protocol.js';
import { fileHash, sha256 } from '../eval/hash.js';
import { loadLpips, type Lpips } from '../metrics/lpips.js';
import type {
  LpipsCommandOptions,
  MetricOptions,
  ReferenceCommandOptions,
  ResultFileOptions,
} from './eval.js';
import { makeFolder, refuseToOverwrite } from './picture_files.js';
import { interruptible, UsageError } from './run.js';
import { terminalBar } from './terminal_bar.js';

/** The network that the options name, on their device. */
export async function openExtractor(
  options: MetricOptions & { batch?: number },
): Promise<PictureExtractor> {
  const { extractor: name, weights, resize, device, batch } = options;
  if (name === 'inception' && weights === undefined)
    throw new UsageError(
      "inception needs its weights: --weights pt_inception-2015-12-05-6726825d.pth, from pytorch-fid's releases. " +
        '--extractor emoji needs none, but knows drawings like emoji only.',
    );
  if (name === 'emoji' && weights !== undefined)
    throw new UsageError('emoji comes with its weights: leave --weights out.');
  if (device !== undefined) setDefaultDevice(device);
  return PictureExtractor.open({ name, weights, resize, batch });
}

/** The folder of `--cache`. */
export function cacheFolder({ cache }: Pick<ReferenceCommandOptions, 'cache'>): string | undefined {
  if (cache === false) return undefined;
  const base = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
  return typeof cache === 'string' ? cache : join(base, 'emulsion', 'references');
}

/** LPIPS where its files are given, and what tells them from others. */
export async function openLpips({
  lpipsVgg: vgg,
  lpipsHeads: heads,
}: LpipsCommandOptions): Promise<{ lpips?: Lpips; hash: string | null }> {
  if ((vgg === undefined) !== (heads === undefined))
    throw new UsageError('LPIPS needs both --lpips-vgg and --lpips-heads.');
  if (vgg === undefined || heads === undefined) return { hash: null };
  const lpips = await loadLpips({ vgg, heads });
  return { lpips, hash: sha256((await fileHash(vgg)) + (await fileHash(heads))) };
}

/** A body with a bar, which Ctrl-C ends with 130. */
export async function measuring<T>(
  options: { quiet?: boolean },
  body: (signal: AbortSignal, progress: MeasuringProgress) => Promise<T>,
  interrupted = 'Interrupted: nothing was written.',
): Promise<T | undefined> {
  return interruptible('Stopping.', async (signal) => {
    const progress = new MeasuringProgress(options);
    try {
      return await body(signal, progress);
    } catch (error) {
      if (!signal.aborted || error !== signal.reason) throw error;
      progress.stop();
      console.error(interrupted); // a result alone goes to standard output
      process.exitCode = 130;
      return undefined;
    } finally {
      progress.stop();
    }
  });
}

/** How far the pictures are, or what is computed of them. */
export class MeasuringProgress {
  readonly #bar: ReturnType<typeof terminalBar>;
  #started = false;

  constructor(options: { quiet?: boolean }) {
    this.#bar = terminalBar('{bar} {value}/{total} | {what}', options);
  }

  /** Pictures are sent through a network; gives what is told how many are done. */
  pictures(what: string, total: number): (done: number) => void {
    this.#begin(total, what);
    return (done) => this.#bar?.update(done);
  }

  /** Something is computed of all. */
  readonly stage = (what: string): void => {
    this.#begin(1, what);
  };

  #begin(total: number, what: string): void {
    if (this.#started) {
      this.#bar?.setTotal(total);
      this.#bar?.update(0, { what });
    } else this.#bar?.start(total, 0, { what });
    this.#started = true;
  }

  stop(): void {
    this.#bar?.stop();
  }
}

/** Refuses to overwrite the file of a result, and makes its folder and sure of it, before any work is done. */
export async function planResult({ output, force }: ResultFileOptions): Promise<void> {
  if (output === undefined) return;
  const isFolder = await stat(output).then(
    (entry) => entry.isDirectory(),
    () => false,
  );
  if (isFolder) throw new FileError('is a folder; give the path of a file.', output);
  await refuseToOverwrite(output, { force });
  await makeFolder(dirname(output));
}

/** Prints the result and writes it where asked to: what cannot be written is seen all the same. */
export async function tell(
  evaluation: Evaluation,
  { output, json }: { output?: string; json?: boolean },
): Promise<void> {
  if (json) process.stdout.write(formatEvaluation(evaluation));
  else console.log([...scoreLines(evaluation), ...protocolLines(evaluation)].join('\n'));
  if (output !== undefined) await saveEvaluation(output, evaluation);
}

function scoreLines({ scores }: Evaluation): string[] {
  const shown = presentScores([scores]);
  const width = Math.max(...shown.map(([, title]) => title.length));
  return shown.map(
    ([name, title]) => `${title.padEnd(width)}  ${formatScore(name, scores[name]!)}`,
  );
}

function protocolLines({ notes, protocol }: Evaluation): string[] {
  const { extractor, samples, reference, size } = protocol;
  const of = `${samples.count} pictures against ${reference.count ?? 'the statistics of unknown'} ones`;
  const cut = size === null ? '' : `, cut to ${size} pixels`;
  const by =
    extractor === null
      ? ''
      : `, by ${extractor.name} (${extractor.weights.slice(0, 8)}), resized by ${extractor.resize}`;
  const incomparable =
    extractor?.name === 'emoji' ? ['Features of emoji do not compare with published numbers.'] : [];
  return ['', `${of}${by}${cut}.`, ...incomparable, ...notes];
}
