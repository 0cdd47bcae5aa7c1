// How `emulsion inspect` tells what it found: text for people, JSON for programs.
import { formatYaml } from '../config/index.js';
import { dtypeInfo, type DType } from '../dtype.js';
import { EmulsionError } from '../errors.js';
import type { Json } from '../io/json.js';
import type { StateReader } from '../io/state.js';
import type { InspectOptions } from './inspect_path.js';

/** What is known of a path. */
export interface Report {
  readonly path: string;
  readonly kind: string;
  /** in words, or the target of a configuration */
  readonly model?: string;
  readonly steps?: number;
  readonly epochs?: number;
  readonly images?: number;
  /** what latents are multiplied by; 'measured' where a training begins with measuring it */
  readonly latentScale?: number | 'measured';
  /** of matrix work in the training that a configuration describes */
  readonly dtype?: string;
  /** networks by name, and their numbers of parameters */
  readonly parameters?: Readonly<Record<string, number>>;
  /** whether a moving average of the weights is there, or will be kept */
  readonly ema: boolean;
  /** files of a run's saved states, oldest first */
  readonly states?: readonly string[];
  readonly finished?: boolean;
  readonly problem?: string;
  readonly hyperParameters?: Json;
  /** what else is there, by name */
  readonly alsoHolds?: readonly string[];
  /** the tensors that are there, or that a model would have */
  readonly state?: Pick<StateReader, 'keys' | 'info'>;
}

/** A tensor's description; null for one that cannot be read here. */
interface TensorInfo {
  readonly key: string;
  readonly shape: readonly number[] | null;
  readonly dtype: DType | null;
}

interface ModuleInfo {
  readonly name: string;
  tensors: number;
  elements: number;
  readonly dtypes: Set<string>;
  readonly modules: Map<string, ModuleInfo>;
}

export function printReport(report: Report, options: InspectOptions): void {
  const { state, ...facts } = report;
  const tensors = state && describeTensors(state);
  const tree = tensors && treeOf(tensors, options.depth);
  if (options.json) {
    const modules = tree && { bytes: bytesOf(tensors), ...jsonOf(tree) };
    const keys = options.keys ? tensors : undefined;
    console.log(JSON.stringify({ ...facts, ...modules, keys }, null, 2));
    return;
  }
  for (const line of headOf(report, tree, tensors)) console.log(printable(line));
  if (report.hyperParameters !== undefined) {
    console.log('\nhyper parameters');
    for (const line of formatYaml(report.hyperParameters).trimEnd().split('\n'))
      console.log(printable(`  ${line}`));
  }
  if (tree) for (const line of drawTree(tree)) console.log(printable(line));
  if (!options.keys || !tensors) return;
  console.log('\ntensors');
  for (const { key, shape, dtype } of tensors)
    console.log(printable(`  ${key}  ${dtype ?? 'unreadable'} [${shape?.join(', ') ?? '?'}]`));
}

function headOf(report: Report, tree?: ModuleInfo, tensors?: readonly TensorInfo[]): string[] {
  const { model, parameters, steps, epochs, images, latentScale, ema, states, alsoHolds } = report;
  const count = (value: number) => value.toLocaleString('en');
  const parts = Object.entries(parameters ?? {}).map(([name, own]) => `${name} ${count(own)}`);
  const whole = Object.values(parameters ?? {}).reduce((sum, own) => sum + own, 0);
  const facts: [string, string | undefined][] = [
    ['model', model],
    ['parameters', parameters && `${count(whole)}: ${parts.join(', ')}`],
    ['matrix work', report.dtype],
    ['trained', steps === undefined ? undefined : `${count(steps)} steps`],
    ['epochs', epochs === undefined ? undefined : count(epochs)],
    ['images', images === undefined ? undefined : count(images)],
    ['latent scale', latentScale === undefined ? undefined : String(latentScale)],
    ['moving average', ema ? 'yes' : 'no'],
    ['saved states', states?.join(', ') || (states && 'none')],
    ['finished', report.finished === undefined ? undefined : report.finished ? 'yes' : 'no'],
    [
      'tensors',
      tree &&
        tensors &&
        `${count(tree.tensors)}, ${count(tree.elements)} values, ${size(bytesOf(tensors))}`,
    ],
    ['also holds', alsoHolds?.join(', ') || undefined],
    ['problem', report.problem],
  ];
  const shown = facts.filter((fact): fact is [string, string] => fact[1] !== undefined);
  const lines = shown.map(([name, text]) => `  ${name.padEnd(15)} ${text}`);
  return [`${report.path}: ${report.kind}`, ...lines];
}

function describeTensors(state: NonNullable<Report['state']>): TensorInfo[] {
  return state.keys.map((key) => {
    try {
      return { key, ...state.info(key) };
    } catch (error) {
      // of a dtype that tensors here cannot hold, or of an unknown kind: told, and passed over
      if (!(error instanceof EmulsionError)) throw error;
      return { key, shape: null, dtype: null };
    }
  });
}

const elementsOf = ({ shape }: TensorInfo): number => (shape ?? [0]).reduce((a, b) => a * b, 1);

const bytesOf = (tensors: readonly TensorInfo[]): number =>
  tensors.reduce(
    (sum, each) => sum + elementsOf(each) * (each.dtype ? dtypeInfo(each.dtype).bytes : 0),
    0,
  );

// Modules are what keys have in front of their dots.
function treeOf(tensors: readonly TensorInfo[], depth: number): ModuleInfo {
  const make = (name: string): ModuleInfo => ({
    name,
    tensors: 0,
    elements: 0,
    dtypes: new Set(),
    modules: new Map(),
  });
  const root = make('');
  for (const tensor of tensors) {
    // No more parts than are shown, however many dots a key has.
    const parts = tensor.key.split('.', depth + 1);
    const isWhole = parts.join('.').length === tensor.key.length;
    const path = isWhole ? parts.slice(0, -1) : parts;
    let at = root;
    for (const name of [null, ...path.slice(0, depth)]) {
      if (name !== null) {
        let below = at.modules.get(name);
        if (!below) at.modules.set(name, (below = make(name)));
        at = below;
      }
      at.tensors += 1;
      at.elements += elementsOf(tensor);
      at.dtypes.add(tensor.dtype ?? 'unreadable');
    }
  }
  return root;
}

function drawTree(root: ModuleInfo): string[] {
  const rows: [name: string, elements: string, dtypes: string][] = [];
  const visit = (module: ModuleInfo, depth: number): void => {
    for (const below of module.modules.values()) {
      const { name, elements, dtypes } = below;
      rows.push(['  '.repeat(depth) + name, elements.toLocaleString('en'), [...dtypes].join(', ')]);
      visit(below, depth + 1);
    }
  };
  visit(root, 1);
  if (rows.length === 0) return [];
  const [names, values] = ([0, 1] as const).map((column) =>
    rows.reduce((most, row) => Math.max(most, row[column].length), 0),
  );
  return [
    '',
    'modules, and values in them',
    ...rows.map(
      ([name, elements, dtypes]) =>
        `${name.padEnd(names)}  ${elements.padStart(values)}  ${dtypes}`,
    ),
  ];
}

function jsonOf({ tensors, elements, dtypes, modules }: ModuleInfo): { [key: string]: Json } {
  const below = [...modules].map(([name, module]): [string, Json] => [name, jsonOf(module)]);
  return { tensors, elements, dtypes: [...dtypes], modules: Object.fromEntries(below) };
}

function size(bytes: number): string {
  const [unit, name] = bytes >= 1e9 ? [1e9, 'GB'] : bytes >= 1e6 ? [1e6, 'MB'] : [1e3, 'kB'];
  return `${(bytes / unit).toFixed(1)} ${name}`;
}

// Names come from files: none may move the cursor or change the terminal's title.
const printable = (text: string): string =>
  text.replace(
    /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (character) => {
      return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
    },
  );
