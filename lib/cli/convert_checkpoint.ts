// The work of `emulsion convert`: tensors go one by one from file to file, renamed and reshaped.
import { readFile } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { dtypeInfo, isFloating, type DType } from '../dtype.js';
import { check } from '../errors.js';
import type { Content } from '../io/atomic.js';
import { averageFile, saveModel } from '../io/model_folder.js';
import { writeSafetensors } from '../io/safetensors.js';
import {
  hasDiffusersKeys,
  hasDiffusersUNetKeys,
  type ConvertedReader,
  type ConvertedState,
  type ConvertedTensor,
} from '../ldm/index.js';
import { writeDiffusers, type DiffusersFiles } from '../ldm/diffusers_state.js';
import { companionFiles, openInput, type Input } from './convert_input.js';
import type { ConvertibleModel, Target } from './convert_models.js';
import { filesOfParts } from './convert_pipeline.js';
import { makeFolder, refuseToOverwrite } from './picture_files.js';
import { printJson, UsageError } from './run.js';
import { terminalBar } from './terminal_bar.js';

/** Options of `emulsion convert`, as the command line gives them. */
export interface ConvertOptions {
  to?: Target;
  preset?: string;
  config?: string;
  prefix?: string;
  ema?: boolean;
  dtype?: 'float32' | 'float16' | 'bfloat16';
  scaleFactor?: number;
  dryRun?: boolean;
  force?: boolean;
  json?: boolean;
  quiet?: boolean;
}

/**
 * Converts a file or folder.
 * @throws UsageError, FileError or ArgumentError, before anything is written
 */
export async function convert(
  path: string,
  output: string,
  options: ConvertOptions,
): Promise<void> {
  const to = options.to ?? (extname(output) === '.safetensors' ? 'safetensors' : 'folder');
  if (/\.(ckpt|pth?)$/i.test(output))
    throw new UsageError(
      `${output}: PyTorch's own format is read, not written. Write .safetensors, which PyTorch opens with safetensors.torch.load_file.`,
    );
  const input = await openInput(path, options);
  const plan = await planOf(input, to, output, options);
  for (const file of [...plan.files, ...(plan.gone ?? [])])
    await refuseToOverwrite(file, { force: options.force, inputs: [path, ...input.files] });
  if (!options.dryRun) {
    const progress = new Progress(plan.weights, options);
    try {
      await plan.write((weights) => progress.watch(weights));
    } finally {
      progress.stop();
    }
  }
  const left = leftOut(input, to, plan);
  if (options.json) {
    const tensors = [...plan.weights].map(([to, { from, shape, dtype }]) => ({
      from,
      to,
      dtype,
      shape,
    }));
    const files = options.dryRun ? [] : plan.files;
    printJson({ files, tensors, leftOut: left, notes: notes(input, to, plan) });
    return;
  }
  if (options.dryRun) printMapping(plan.weights);
  if (options.quiet) return;
  console.log(summary([...plan.weights.values()], output, options));
  if (left.length > 0) console.log(`left out: ${left.join(', ')}`);
  for (const note of notes(input, to, plan)) console.log(note);
}

/** What will be written. */
interface Plan {
  /** paths of the files */
  readonly files: readonly string[];
  /** paths of those that will not be there any more */
  readonly gone?: readonly string[];
  /** all tensors, by folder (with its slash, if any) and name */
  readonly weights: ConvertedState;
  /** names in an index of parts that are left for the reader to fill in */
  readonly empty: readonly string[];
  /** @param watch the same tensors, told of when they are read */
  write(watch: (weights: ConvertedState) => ConvertedState): Promise<void>;
}

async function planOf(
  input: Input,
  to: Target,
  output: string,
  options: ConvertOptions,
): Promise<Plan> {
  const { model } = input;
  const scaleFactor = options.scaleFactor ?? input.scaleFactor;
  if (to === 'safetensors') {
    const weights = model
      ? await selected(input.origin, input.original, model, to, options)
      : all(input, options);
    const write: Plan['write'] = (watch) =>
      writeSafetensors(output, watch(weights), { format: 'pt' });
    return { files: [output], weights, empty: [], write };
  }
  if (!model)
    throw new UsageError(
      `${input.origin} holds weights only: name the architecture with --preset or --config to write a folder.`,
    );
  // A model that diffusers cannot hold is refused before any work.
  if (to === 'diffusers') model.toDiffusers(new Map(), scaleFactor);
  const weights = await selected(input.origin, input.original, model, to, options);
  if (to === 'diffusers') {
    const parts = await filesOfParts(input.others ?? [], input.origin, output, options);
    return diffusersPlan(model.toDiffusers(weights, scaleFactor), parts, output);
  }
  const config = model.config(scaleFactor);
  const average = input.ema && (await selected(input.origin, input.ema, model, to, options));
  const ema = average && new Map([...average].filter(([key]) => model.isAveraged(key)));
  const { companions = [] } = input;
  const write: Plan['write'] = async (watch) => {
    await makeFolder(output);
    const beside = new Map<string, Content | null>(companionFiles.map((name) => [name, null]));
    for (const path of companions) beside.set(basename(path), await readFile(path));
    await saveModel(output, { config, weights: watch(weights), ...(ema && { ema }), beside });
  };
  const names = ['config.json', 'model.safetensors', ...companions.map((path) => basename(path))];
  if (ema) names.push(averageFile);
  // What is there of another model would go with its weights.
  const gone = [averageFile, ...companionFiles].filter((name) => !names.includes(name));
  const inOutput = (name: string) => join(output, name);
  return { files: names.map(inOutput), gone: gone.map(inOutput), weights, empty: [], write };
}

const isState = (content: unknown): content is ConvertedState => content instanceof Map;

function diffusersPlan(
  files: DiffusersFiles,
  parts: ReadonlyMap<string, Content>,
  output: string,
): Plan {
  const weights = [...files].flatMap(([file, content]) => {
    const folder = dirname(file) === '.' ? '' : `${dirname(file)}/`;
    return isState(content) ? [...content].map(([key, x]) => [folder + key, x] as const) : [];
  });
  const [, last] = [...files].at(-1)!;
  const empty = Object.entries(last)
    .filter(([, part]) => Array.isArray(part) && part.length > 0 && part.every((x) => x === null))
    .map(([name]) => name);
  const write: Plan['write'] = (watch) =>
    writeDiffusers(
      output,
      new Map([...files].map(([file, x]) => [file, isState(x) ? watch(x) : x])),
      parts,
    );
  return {
    files: [...files.keys()].map((file) => join(output, file)),
    weights: new Map(weights),
    empty,
    write,
  };
}

function all(input: Input, { dtype }: ConvertOptions): ConvertedState {
  if (hasDiffusersKeys(input.stored) || hasDiffusersUNetKeys(input.stored))
    throw new UsageError(
      `${input.origin} has diffusers' keys: name the architecture with --config config.json, or give the folder.`,
    );
  const reader = input.original(input.stored);
  return new Map(input.stored.map((key) => [key, converted(reader, key, dtype)]));
}

/** The tensors that a target needs, under the original's keys. */
async function selected(
  origin: string,
  read: Input['original'],
  model: ConvertibleModel,
  to: Target,
  { dtype }: ConvertOptions,
): Promise<ConvertedState> {
  await model.checkHeld(read([]), to);
  const shapes = model.shapes(to);
  const original = read([...shapes.keys()]);
  const problems = [...shapes].flatMap(([key, shape]) => {
    if (!original.has(key)) return [`  ${key} is missing`];
    const found = original.info(key).shape.join(', ');
    const expected = shape.join(', ');
    return found === expected ? [] : [`  ${key}: expected [${expected}], got [${found}]`];
  });
  check(problems.length === 0, () => {
    return `${origin} does not fit the configuration (${problems.length}):\n${problems.join('\n')}`;
  });
  return new Map([...shapes.keys()].map((key) => [key, converted(original, key, dtype)]));
}

function converted(
  reader: ConvertedReader,
  key: string,
  wanted: DType | undefined,
): ConvertedTensor {
  const { shape, dtype: stored } = reader.info(key);
  const dtype = wanted && isFloating(stored) ? wanted : stored;
  const read = async () => {
    const tensor = await reader.get(key);
    if (dtype === stored) return tensor;
    const cast = tensor.to(dtype);
    tensor.dispose();
    return cast;
  };
  return { from: reader.sourcesOf(key), shape, dtype, read };
}

function printMapping(weights: ConvertedState): void {
  for (const [key, { from, shape, dtype }] of weights)
    console.log(`${from.join(' + ')} -> ${key} ${dtype} [${shape.join(', ')}]`);
}

/** What of the input goes nowhere. */
function leftOut({ stored, model }: Input, to: Target, { weights }: Plan): string[] {
  const used = new Set([...weights.values()].flatMap(({ from }) => from));
  for (const key of (to === 'diffusers' && model?.toldByConfig) || []) used.add(key);
  return groups(stored.filter((key) => !used.has(key)));
}

/** What the user must know of parts that only one side has. */
function notes({ others = [], companions = [] }: Input, to: Target, { empty }: Plan): string[] {
  return [
    ...(to !== 'folder' && companions.length > 0
      ? [`not converted: ${companions.join(', ')}; only model folders hold them`]
      : []),
    ...(to !== 'diffusers' && others.length > 0
      ? [`not converted: ${others.join(', ')}; the model takes the encoded text as its condition`]
      : []),
    ...(empty.length > 0
      ? [`not converted: ${empty.join(', ')}; give them to from_pretrained of diffusers`]
      : []),
  ];
}

// Hundreds of names are told by their beginnings.
function groups(keys: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const key of keys) {
    const name = key.includes('.') ? `${key.split('.')[0]}.*` : key;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].map(([name, count]) => (name.endsWith('*') ? `${name} (${count})` : name));
}

const bytesOf = ({ shape, dtype }: ConvertedTensor): number =>
  shape.reduce((a, b) => a * b, dtypeInfo(dtype).bytes);

function summary(
  tensors: readonly ConvertedTensor[],
  output: string,
  { dryRun }: ConvertOptions,
): string {
  const values = tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const what = `${tensors.length} tensors, ${values.toLocaleString('en')} values`;
  return dryRun ? `${what}; nothing was written` : `${what} written to ${output}`;
}

/** How far the tensors are. */
class Progress {
  readonly #bar: ReturnType<typeof terminalBar>;

  constructor(state: ConvertedState, options: ConvertOptions) {
    this.#bar = terminalBar('{bar} {percentage}% | {name}', options);
    const total = [...state.values()].reduce((sum, tensor) => sum + bytesOf(tensor), 0);
    this.#bar?.start(total, 0, { name: '' });
  }

  /** The same tensors, each of which moves the bar when it is read. */
  watch(state: ConvertedState): ConvertedState {
    const watched = (key: string, tensor: ConvertedTensor): ConvertedTensor => ({
      ...tensor,
      read: async () => {
        const result = await tensor.read();
        this.#bar?.increment(bytesOf(tensor), { name: key });
        return result;
      },
    });
    return new Map([...state].map(([key, tensor]) => [key, watched(key, tensor)]));
  }

  stop(): void {
    this.#bar?.stop();
  }
}
