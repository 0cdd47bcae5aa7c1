// Golden files: safetensors whose metadata says what to run. One file holds one case, or several.
import { existsSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import type { DType } from '../../lib/index.js';
import { readSafetensors, type SafetensorsFile } from '../../lib/io/safetensors.js';
import { withPrefix, type StateReader } from '../../lib/io/state.js';

/** Numbers in PyTorch's layout. */
export interface Values {
  readonly shape: readonly number[];
  readonly data: Float32Array | Float64Array;
  /** As stored; everything but floats is compared exactly. */
  readonly dtype: DType;
}

export type Json = Readonly<Record<string, unknown>>;

/** A case's measured error of PyTorch's float32 run, per output and gradient. */
interface MeasuredError {
  rel_l2?: number;
}

/** One case of a golden file: its description and the names of its tensors without the case's prefix. */
export class GoldenCase {
  readonly names: readonly string[];

  constructor(
    readonly file: GoldenFile,
    /** null when the whole file is the case */
    readonly name: string | null,
    /** the file's description with the case's own entries over it */
    readonly meta: Json,
    /** PyTorch's float32 errors by tensor name; `structurally_zero` lists gradients that are zero */
    readonly f32Error: Json,
  ) {
    this.names = file.keys
      .filter((key) => key.startsWith(this.prefix))
      .map((key) => {
        return key.slice(this.prefix.length);
      });
  }

  get prefix(): string {
    return this.name === null ? '' : `${this.name}/`;
  }

  get id(): string {
    return this.name === null ? this.file.name : `${this.file.name} ${this.name}`;
  }

  /** Constructor or call arguments under the original's names. */
  get args(): Json {
    return (this.meta.args ?? {}) as Json;
  }

  /** What to run, as far as the metadata names it: `op`, `module` or `kind`. */
  get subject(): string | undefined {
    const { op, module, kind } = this.meta;
    return [op, module, kind].find((name) => typeof name === 'string') as string | undefined;
  }

  get training(): boolean {
    return String(this.meta.training) === 'true';
  }

  has(name: string): boolean {
    return this.names.includes(name);
  }

  /** Names with the prefix, without it. */
  named(prefix: string): string[] {
    return this.names.filter((name) => name.startsWith(prefix)).map((n) => n.slice(prefix.length));
  }

  async values(name: string): Promise<Values> {
    return this.file.values(this.prefix + name);
  }

  /** The case that holds this one's inputs and upstream gradients. */
  get inputs(): GoldenCase {
    const from = this.meta.inputs_from;
    if (from === undefined) return this;
    const found = this.file.cases.find((each) => each.name === from);
    if (!found)
      throw new Error(`inputs_from names '${String(from)}', which the file does not have`);
    return found.inputs;
  }

  /** An input, or undefined: from the case itself or from the one that inputs_from names. */
  async input(name: string): Promise<Values | undefined> {
    for (const source of [this, this.inputs]) {
      if (source.has(`in.${name}`)) return source.values(`in.${name}`);
    }
    return undefined;
  }

  /** An upstream gradient, or undefined. A case whose inputs are borrowed borrows them too. */
  async upstream(name: string): Promise<Values | undefined> {
    for (const source of [this, this.inputs]) {
      if (source.has(`up.${name}`)) return source.values(`up.${name}`);
    }
    return undefined;
  }

  /**
   * The case that holds the parameters, and their prefix there: `params_from` is a file, relative to the
   * golden folder, and optionally `(prefix ...)`.
   */
  async parameterSource(): Promise<{ holder: GoldenCase; prefix: string }> {
    const from = this.meta.params_from;
    if (typeof from !== 'string') return { holder: this, prefix: 'param.' };
    const path = /[\w./-]+\.safetensors/.exec(from)?.[0];
    if (!path) throw new Error(`params_from names no safetensors file: '${from}'`);
    const file = await openGolden(this.file.find(path));
    const prefix = /\(prefix ([^)]+)\)/.exec(from)?.[1] ?? 'param.';
    return { holder: file.cases[0], prefix };
  }

  /** The parameters as a reader that modules load from. */
  async parameters(): Promise<StateReader> {
    const { holder, prefix } = await this.parameterSource();
    return withPrefix(holder.file.state, holder.prefix + prefix);
  }

  /** PyTorch's own float32 error of a tensor, 0 when it was not measured. */
  measuredError(name: string): number {
    const entry = (this.f32Error[name] ?? this.f32Error[this.#errorGroup(name)]) as MeasuredError;
    return entry?.rel_l2 ?? 0;
  }

  /** Whether a gradient or parameter is zero by construction. `name` is `param.KEY` or `in.NAME`. */
  isStructurallyZero(name: string): boolean {
    const listed = (this.f32Error.structurally_zero ?? []) as string[];
    return listed.includes(name) || listed.includes(name.replace(/^param\./, ''));
  }

  // of parameter gradients only the worst error is listed
  #errorGroup(name: string): string {
    return /^(grad|gradstat)\.param\./.test(name) ? 'grad.param(worst rel_l2)' : name;
  }
}

/** An opened golden file. */
export class GoldenFile {
  readonly cases: readonly GoldenCase[];
  readonly keys: readonly string[];

  constructor(
    readonly path: string,
    /** as printed in reports */
    readonly name: string,
    readonly state: SafetensorsFile,
  ) {
    this.keys = state.keys;
    const meta: Record<string, unknown> = {};
    for (const [key, text] of state.metadata) meta[key] = parse(text);
    const { cases, f32_err: errors, ...shared } = meta as { cases?: Json; f32_err?: Json };
    this.cases = cases
      ? Object.entries(cases).map(([name, own]) => {
          return new GoldenCase(
            this,
            name,
            { ...shared, ...(own as Json) },
            (errors?.[name] ?? {}) as Json,
          );
        })
      : [new GoldenCase(this, null, shared, errors ?? {})];
  }

  async values(key: string): Promise<Values> {
    const tensor = await this.state.get(key);
    try {
      const { shape, dtype } = tensor;
      const raw = await tensor.data();
      if (raw instanceof Float32Array || raw instanceof Float64Array)
        return { shape, data: raw, dtype };
      return { shape, data: Float64Array.from(raw as ArrayLike<number | bigint>, Number), dtype };
    } finally {
      tensor.dispose();
    }
  }

  /** A path of the golden folder: tried from this file's folder upwards. */
  find(path: string): string {
    for (let folder = dirname(this.path); ; folder = dirname(folder)) {
      const candidate = join(folder, path);
      if (existsSync(candidate)) return candidate;
      if (folder === dirname(folder)) throw new Error(`${path}: not found above ${this.path}`);
    }
  }
}

const opened = new Map<string, Promise<GoldenFile>>();

/** Opens a file once; `root` shortens its name in reports. */
export function openGolden(
  path: string,
  root = dirname(dirname(resolve(path))),
): Promise<GoldenFile> {
  const absolute = resolve(path);
  let file = opened.get(absolute);
  if (!file) {
    file = readSafetensors(absolute).then((read) => {
      return new GoldenFile(absolute, relative(root, absolute) || path, read);
    });
    opened.set(absolute, file);
  }
  return file;
}

/** The files to run: of a folder and those below it, or the file itself. Sorted; hidden names left out. */
export async function listFiles(path: string): Promise<string[]> {
  if ((await stat(path)).isFile()) return [path];
  const files: string[] = [];
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.name.startsWith('.')) continue;
    const child = join(path, entry.name);
    if (entry.isDirectory()) files.push(...(await listFiles(child)));
    else files.push(child);
  }
  return files.sort();
}

// Metadata values are JSON where they have structure and plain text elsewhere.
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
