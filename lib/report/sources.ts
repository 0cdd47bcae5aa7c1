// What a report is made from: folders of runs and of samples, and files of measurements.
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { FileError } from '../errors.js';
import { fileError } from '../io/file_error.js';
import { isRecord, readJson } from '../io/json.js';
import { readSmallFile } from '../io/positional.js';
import { loadEvaluation, type Evaluation } from '../eval/index.js';
import { evaluationFormat } from '../eval/protocol.js';
import { readSamplingRuns } from '../eval/sampling_record.js';
import { withoutOverviews } from '../metrics/folders.js';
import { readMetrics, type Metrics } from './metrics.js';
import { readThroughput, throughputKind, type ThroughputFile } from './throughput_file.js';

/** Pictures of one kind that a run drew while it went on, steps ascending. */
export interface PictureSeries {
  readonly split: string;
  readonly name: string;
  readonly files: readonly { step: number; path: string }[];
}

/** All that one path gave. */
export interface Source {
  /** what tells it apart from the others */
  readonly label: string;
  readonly path: string;
  readonly metrics?: Metrics;
  /** the run's configuration, YAML */
  readonly config?: string;
  readonly pictures: readonly PictureSeries[];
  /** a folder of samples: the calls that made them, and their files */
  readonly samples?: {
    calls: readonly Readonly<Record<string, unknown>>[];
    files: readonly string[];
  };
  /** with the names of their files */
  readonly evaluations: readonly (Evaluation & { readonly file: string })[];
  readonly throughput: readonly ThroughputFile[];
}

const longestConfig = 256 * 1024;
const mostFiles = 100_000;

/**
 * Opens what the paths name, each with a label of its own.
 * @throws FileError for what is no source of a report
 */
export async function openSources(paths: readonly string[]): Promise<Source[]> {
  const labels = labelsOf(paths);
  // Curves of many runs are finer together than a screen is.
  const spans = Math.max(40, 2 * Math.floor(Math.min(400, 1600 / paths.length) / 2));
  return Promise.all(paths.map((path, i) => openSource(path, labels[i], spans)));
}

async function openSource(path: string, label: string, spans: number): Promise<Source> {
  const entry = await stat(path).catch((error: unknown) => {
    throw fileError(path, 'cannot be read', error);
  });
  const nothing = { label, path, pictures: [], evaluations: [], throughput: [] };
  if (!entry.isDirectory() && !entry.isFile())
    throw new FileError('is neither a file nor a folder.', path);
  if (!entry.isDirectory())
    return path.endsWith('.jsonl')
      ? { ...nothing, metrics: await readMetrics(path, spans) }
      : { ...nothing, ...(await measurements([path], true)) };

  const { files: names, folders } = await listed(path);
  const inside = (name: string) => join(path, name);
  const found: Source = {
    ...nothing,
    ...(names.includes('metrics.jsonl') && {
      metrics: await readMetrics(inside('metrics.jsonl'), spans),
    }),
    ...(names.includes('config.yaml') && {
      config: (
        await readSmallFile(inside('config.yaml'), longestConfig, 'a configuration')
      ).toString(),
    }),
    ...(folders.includes('images') && { pictures: await pictureSeries(inside('images')) }),
    ...(names.includes('sampling_config.json') && { samples: await samplesOf(path, names) }),
    ...(await measurements(names.filter((name) => name.endsWith('.json')).map(inside), false)),
  };
  const { metrics, samples, evaluations, throughput } = found;
  if (!metrics && !samples && evaluations.length === 0 && throughput.length === 0)
    throw new FileError(
      'holds nothing to report on: expected the folder of a run (metrics.jsonl), of samples ' +
        '(sampling_config.json), or results of `emulsion eval` or `emulsion throughput`.',
      path,
    );
  return found;
}

/** Names of the files and folders in a folder, in order; what else has a name, such as a pipe, may never end. */
async function listed(folder: string): Promise<{ files: string[]; folders: string[] }> {
  const found: { files: string[]; folders: string[] } = { files: [], folders: [] };
  for (const each of await readdir(folder, { withFileTypes: true })) {
    // A link is what it leads to; one that leads nowhere is nothing.
    const entry = each.isSymbolicLink()
      ? await stat(join(folder, each.name)).catch(() => each)
      : each;
    if (entry.isFile()) found.files.push(each.name);
    if (entry.isDirectory()) found.folders.push(each.name);
  }
  return { files: found.files.sort(), folders: found.folders.sort() };
}

/** The measurements among JSON files. @param isNamed whether a file that is none is a mistake */
async function measurements(
  paths: readonly string[],
  isNamed: boolean,
): Promise<Pick<Source, 'evaluations' | 'throughput'>> {
  const evaluations: (Evaluation & { file: string })[] = [];
  const throughput: ThroughputFile[] = [];
  for (const path of paths) {
    const value = await readJson(path).catch((error: unknown) => {
      if (isNamed) throw error;
    });
    if (isRecord(value) && value.kind === throughputKind)
      throughput.push(await readThroughput(path));
    else if (isRecord(value) && value.format === evaluationFormat)
      evaluations.push({ ...(await loadEvaluation(path)), file: basename(path) });
    else if (isNamed)
      throw new FileError('is no result of `emulsion eval` or `emulsion throughput`.', path);
  }
  return { evaluations, throughput };
}

// images/val/samples-00012000.png
async function pictureSeries(folder: string): Promise<PictureSeries[]> {
  const found: PictureSeries[] = [];
  for (const split of (await listed(folder)).folders) {
    const files = new Map<string, { step: number; path: string }[]>();
    const names = (await readdir(join(folder, split))).slice(0, mostFiles);
    for (const file of names) {
      const match = /^(.+)-(\d{1,15})\.png$/.exec(file);
      if (!match) continue;
      const [, name, step] = match;
      const own = files.get(name) ?? files.set(name, []).get(name)!;
      own.push({ step: Number(step), path: join(folder, split, file) });
    }
    for (const [name, own] of files)
      found.push({ split, name, files: own.sort((a, b) => a.step - b.step) });
  }
  return found;
}

async function samplesOf(
  path: string,
  names: readonly string[],
): Promise<NonNullable<Source['samples']>> {
  const pictures = withoutOverviews(names).filter((name) => name.endsWith('.png'));
  return {
    calls: await readSamplingRuns(join(path, 'sampling_config.json')),
    files: pictures.slice(0, mostFiles).map((name) => join(path, name)),
  };
}

/** The last part of each path, with the parts before it where that is not enough. */
function labelsOf(paths: readonly string[]): string[] {
  const whole = paths.map((path) => resolve(path));
  const last = (path: string, parts: number) => {
    let [label, rest] = [basename(path), dirname(path)];
    for (let i = 1; i < parts && basename(rest) !== ''; i++)
      [label, rest] = [join(basename(rest), label), dirname(rest)];
    return label;
  };
  for (let parts = 1; parts < 8; parts++) {
    const labels = whole.map((path) => last(path, parts));
    if (new Set(labels).size === labels.length) return labels;
  }
  return whole.map((path, i) => `${last(path, 1)} (${i + 1})`);
}
