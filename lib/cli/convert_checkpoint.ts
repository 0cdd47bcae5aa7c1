// The work of `emulsion convert`: tensors go one by one from file to file, renamed and reshaped.
import { extname, join } from 'node:path';
import cliProgress from 'cli-progress';
import { dtypeInfo, isFloating, type DType } from '../dtype.js';
import { check } from '../errors.js';
import { saveModel } from '../io/model_folder.js';
import { writeSafetensors } from '../io/safetensors.js';
import type { StateReader } from '../io/state.js';
import {
  buildFirstStage,
  diffusersWeights,
  fromDiffusersState,
  hasDiffusersKeys,
  saveDiffusers,
  toDiffusersConfig,
  toDiffusersState,
  type ConvertedState,
  type ConvertedTensor,
  type FirstStageSpec,
} from '../ldm/first_stage/index.js';
import { checkHeld } from '../ldm/first_stage/first_stage.js';
import { openInput, type Input } from './convert_input.js';
import { refuseToOverwrite } from './picture_files.js';
import { UsageError } from './run.js';

/** Options of `emulsion convert`, as the command line gives them. */
export interface ConvertOptions {
  to?: 'safetensors' | 'folder' | 'diffusers';
  preset?: string;
  config?: string;
  prefix?: string;
  ema?: boolean;
  dtype?: 'float32' | 'float16' | 'bfloat16';
  scaleFactor?: number;
  dryRun?: boolean;
  force?: boolean;
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
  const target = targetOf(input, to, options);
  const { state, leftOut } = selectState(input, input.reader, options);
  for (const file of filesOf(to, output))
    await refuseToOverwrite(file, { force: options.force, inputs: [path, input.reader.origin] });
  if (options.dryRun) {
    const written = target?.kind === 'diffusers' ? toDiffusersState(target.spec, state) : state;
    for (const [key, { from, shape, dtype }] of written)
      console.log(`${from} -> ${key} ${dtype} [${shape.join(', ')}]`);
  } else {
    await write(input, state, target, output, options);
  }
  if (options.quiet) return;
  console.log(summary(state, output, options));
  if (leftOut.length > 0) console.log(`left out: ${leftOut.join(', ')}`);
}

/** A folder to write, with what its configuration says. */
interface FolderTarget {
  readonly kind: 'folder' | 'diffusers';
  readonly spec: FirstStageSpec;
  readonly scaleFactor?: number;
}

// Null for a file, which holds weights only.
function targetOf(
  { spec, reader, ...input }: Input,
  kind: NonNullable<ConvertOptions['to']>,
  options: ConvertOptions,
): FolderTarget | null {
  if (kind === 'safetensors') return null;
  if (!spec)
    throw new UsageError(
      `${reader.origin} holds weights only: name the architecture with --preset or --config to write a folder.`,
    );
  const scaleFactor = options.scaleFactor ?? input.scaleFactor;
  // A model that diffusers cannot hold is refused before any work.
  if (kind === 'diffusers') toDiffusersConfig({ spec, scaleFactor: scaleFactor ?? 1 });
  return { kind, spec, ...(scaleFactor ? { scaleFactor } : {}) };
}

async function write(
  input: Input,
  state: ConvertedState,
  target: FolderTarget | null,
  output: string,
  options: ConvertOptions,
): Promise<void> {
  const progress = new Progress(state, options);
  const weights = progress.watch(state);
  try {
    if (!target) return await writeSafetensors(output, weights, { format: 'pt' });
    const { kind, spec, scaleFactor } = target;
    if (kind === 'diffusers')
      return await saveDiffusers(output, { spec, scaleFactor: scaleFactor ?? 1 }, weights);
    const config = { firstStage: spec, ...(scaleFactor ? { scaleFactor } : {}) };
    const ema = input.ema && selectState(input, input.ema, options).state;
    await saveModel(output, { config, weights, ...(ema ? { ema } : {}) });
  } finally {
    progress.stop();
  }
}

function filesOf(to: string, output: string): string[] {
  if (to === 'safetensors') return [output];
  const names = to === 'diffusers' ? [diffusersWeights] : ['model.safetensors'];
  return ['config.json', ...names].map((name) => join(output, name));
}

/** The tensors to write under the original's keys, and the keys of the input that none of them uses. */
function selectState(
  { spec }: Input,
  reader: StateReader,
  { dtype }: ConvertOptions,
): { state: ConvertedState; leftOut: string[] } {
  if (!spec) {
    if (hasDiffusersKeys(reader.keys))
      throw new UsageError(
        `${reader.origin} has diffusers' keys: name the architecture with --config config.json, or give the folder.`,
      );
    const all = reader.keys.map((key): [string, ConvertedTensor] => [
      key,
      converted(reader, key, key, dtype),
    ]);
    return { state: new Map(all), leftOut: [] };
  }
  const diffusers = hasDiffusersKeys(reader.keys);
  const bare = diffusers ? fromDiffusersState(spec, reader, []) : reader;
  checkHeld(spec, bare);
  const shapes = shapesOf(spec);
  const original = diffusers ? fromDiffusersState(spec, reader, [...shapes.keys()]) : reader;
  const problems = [...shapes].flatMap(([key, shape]) => {
    if (!original.has(key)) return [`  ${key} is missing`];
    const found = original.info(key).shape.join(', ');
    const expected = shape.join(', ');
    return found === expected ? [] : [`  ${key}: expected [${expected}], got [${found}]`];
  });
  check(problems.length === 0, () => {
    return `${reader.origin} does not fit the configuration (${problems.length}):\n${problems.join('\n')}`;
  });
  const sourceOf = (key: string) =>
    diffusers ? (original as ReturnType<typeof fromDiffusersState>).sourceOf(key) : key;
  const state = new Map(
    [...shapes.keys()].map((key) => [key, converted(original, key, sourceOf(key), dtype)]),
  );
  const used = new Set([...state.values()].map(({ from }) => from));
  return { state, leftOut: groups(reader.keys.filter((key) => !used.has(key))) };
}

/** Shape in files of every tensor of a network: the network itself is asked. */
function shapesOf(spec: FirstStageSpec): Map<string, readonly number[]> {
  const model = buildFirstStage(spec);
  try {
    return new Map([...model.exportState()].map(([key, { shape }]) => [key, shape]));
  } finally {
    model.dispose();
  }
}

function converted(
  reader: StateReader,
  key: string,
  from: string,
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
  return { from, shape, dtype, read };
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

function summary(state: ConvertedState, output: string, { dryRun }: ConvertOptions): string {
  const values = [...state.values()].reduce(
    (sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1),
    0,
  );
  const what = `${state.size} tensors, ${values.toLocaleString('en')} values`;
  return dryRun ? `${what}; nothing was written` : `${what} written to ${output}`;
}

/** A bar on a terminal, nothing elsewhere or with `--quiet`. */
class Progress {
  readonly #bar: cliProgress.SingleBar | null;

  constructor(state: ConvertedState, { quiet }: ConvertOptions) {
    const format = '{bar} {percentage}% | {name}';
    const shown = process.stderr.isTTY && !quiet;
    this.#bar = shown ? new cliProgress.SingleBar({ format, barsize: 28, hideCursor: true }) : null;
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

  /** Also after a failure: the terminal gets its cursor back. */
  stop(): void {
    this.#bar?.stop();
  }
}
