// Saved states of a run: one file each, written atomically, found again after whatever happened meanwhile.
import { createHash } from 'node:crypto';
import { access, constants, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { check, FileError } from '../errors.js';
import { fileError } from '../io/file_error.js';
import {
  readSafetensors,
  writeFileAtomic,
  writeSafetensors,
  type Json,
  type SafetensorsFile,
} from '../io/index.js';
import type { TensorSource } from '../io/state.js';
import { bytesOf } from '../io/tensor_bytes.js';
import type { Tensor } from '../tensor.js';

/** Named tensors of a state, and everything else as plain data. */
export interface State {
  readonly tensors: ReadonlyMap<string, Tensor | TensorSource>;
  readonly plain: Json;
}

/** A state in a file, whole and unread. */
export interface SavedState {
  readonly file: SafetensorsFile;
  readonly plain: Json;
}

/** Which states stay when new ones come. */
export interface Retention {
  /** The newest so many. */
  last: number;
  /** Those of every so many steps, for good; 0: none. */
  every: number;
  /** Those with the lowest value of what is monitored, so many. Default 0. */
  best?: number;
}

/** A state that is among the best. */
interface Ranked {
  readonly step: number;
  readonly value: number;
}

// The plain data and the digest, beside the tensors.
const plainKey = 'training';
const digestKey = 'sha256';

/** Writes a state atomically. `path` holds the old file or the complete new one. */
export async function writeState(path: string, { tensors, plain }: State): Promise<void> {
  const text = JSON.stringify(plain);
  const digest = await digestOfState(text, tensors);
  await writeSafetensors(path, tensors, { [plainKey]: text, [digestKey]: digest });
}

/**
 * Opens a state and reads it once from end to end, so that nothing is restored from a damaged file.
 * @throws FileError when the file is damaged or holds no state
 */
export async function readState(path: string): Promise<SavedState> {
  const file = await readSafetensors(path);
  const text = file.metadata.get(plainKey);
  const expected = file.metadata.get(digestKey);
  if (text === undefined || expected === undefined)
    throw new FileError('holds no state of a training.', path);
  const digest = await digestOf(text, [...file.keys], async (key) => {
    using tensor = await file.get(key);
    return await bytesOf(tensor);
  });
  if (digest !== expected)
    throw new FileError('is damaged: its content does not match its checksum.', path);
  return { file, plain: parse(path, text) };
}

/** A checksum of named tensors and what belongs to them. */
export function digestOfState(text: string, tensors: State['tensors']): Promise<string> {
  return digestOf(text, [...tensors.keys()], (key) => contents(tensors.get(key)!));
}

async function digestOf(
  text: string,
  keys: readonly string[],
  read: (key: string) => Promise<Uint8Array>,
): Promise<string> {
  const hash = createHash('sha256').update(text);
  for (const key of [...keys].sort()) hash.update(`\0${key}\0`).update(await read(key));
  return hash.digest('hex');
}

async function contents(source: Tensor | TensorSource): Promise<Uint8Array> {
  if (!('read' in source)) return bytesOf(source);
  const made = await source.read();
  try {
    return await bytesOf(made);
  } finally {
    made.dispose();
  }
}

function parse(path: string, text: string): Json {
  try {
    return JSON.parse(text, (key, value: unknown) => {
      if (key === '__proto__') throw new SyntaxError('the key "__proto__" is not allowed');
      return value;
    }) as Json;
  } catch (error) {
    throw new FileError(`holds no state of a training: ${(error as Error).message}`, path);
  }
}

const rankingName = 'best.json';
const fileName = (step: number): string => `step-${String(step).padStart(8, '0')}.safetensors`;
const stateName = /^step-(\d{8,15})\.safetensors$/;

/** The states in a folder, by step. */
export class Checkpoints {
  // Passed over by latest(); in the way of the next save.
  private damaged: string[] = [];

  constructor(
    readonly folder: string,
    private readonly retention: Retention,
  ) {
    const { last, every, best = 0 } = retention;
    check(
      [last - 1, every, best].every((count) => Number.isSafeInteger(count) && count >= 0),
      () =>
        'Checkpoints: last must be at least 1, every and best at least 0, ' +
        `got ${last}, ${every} and ${best}`,
    );
  }

  /** Steps and paths, newest first. */
  async list(): Promise<{ step: number; path: string }[]> {
    let names: string[];
    try {
      names = await readdir(this.folder);
    } catch (error) {
      throw fileError(this.folder, 'cannot be read', error);
    }
    return names
      .flatMap((name) => {
        const match = stateName.exec(name);
        return match ? [{ step: Number(match[1]), path: join(this.folder, name) }] : [];
      })
      .sort((a, b) => b.step - a.step);
  }

  /**
   * The best states, lowest value first.
   * @throws FileError when their list is not as it was written
   */
  async best(): Promise<Ranked[]> {
    const path = join(this.folder, rankingName);
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw fileError(path, 'cannot be read', error);
    }
    const ranking = parse(path, text);
    const isRanked = (each: Json): boolean => {
      const { step, value } = (each ?? {}) as Partial<Ranked>;
      return Number.isSafeInteger(step) && Number.isFinite(value);
    };
    if (!Array.isArray(ranking) || !ranking.every(isRanked))
      throw new FileError('is no list of steps and values. Remove it: the states stay.', path);
    return ranking as unknown as Ranked[];
  }

  /** Whether a state of this worth is among the best: then it is to be saved with it. */
  async isAmongBest(step: number, value: number): Promise<boolean> {
    const ranking = await this.rankingWith({ step, value });
    return ranking.slice(0, this.retention.best ?? 0).some((each) => each.step === step);
  }

  /**
   * Saves a state; then, with the new one safe on the disk, removes what need not stay.
   * @param value what it is worth, of one that is among the best: it stays as long as it is
   */
  async save(step: number, state: State, value?: number): Promise<string> {
    const path = join(this.folder, fileName(step));
    if (value === undefined) await writeState(path, state);
    else {
      // Until it is safe on the disk it displaces none: whoever is killed meanwhile keeps the others.
      const ranking = await this.rankingWith({ step, value });
      await this.writeRanking(ranking);
      await writeState(path, state);
      await this.writeRanking(ranking.slice(0, this.retention.best));
    }
    await this.prune(path);
    return path;
  }

  /**
   * The newest state that is whole, or null when none was ever saved. Damaged ones are passed over, and the
   * next save sets them aside as `*.damaged`.
   *
   * @param warn told of every damaged file
   * @throws FileError when all are damaged, or a file cannot be read at all
   */
  async latest(warn: (message: string) => void): Promise<SavedState | null> {
    const all = await this.list();
    const damage: { path: string; message: string }[] = [];
    for (const { path } of all) {
      await access(path, constants.R_OK).catch((error: unknown) => {
        throw fileError(path, 'cannot be read', error);
      });
      try {
        const state = await readState(path);
        for (const { message } of damage)
          warn(`${message} Going on from ${basename(path)} instead.`);
        this.damaged = damage.map((each) => each.path);
        return state;
      } catch (error) {
        if (!(error instanceof FileError)) throw error;
        damage.push({ path, message: error.message });
      }
    }
    if (damage.length > 0)
      throw new FileError(
        `no state is whole. ${damage.map(({ message }) => message).join(' ')} Start a new run.`,
        this.folder,
      );
    return null;
  }

  // Lowest first, with one more; what is no number has no place.
  private async rankingWith(ranked: Ranked): Promise<Ranked[]> {
    const saved = new Set((await this.list()).map(({ step }) => step));
    // A run that goes on from an earlier state comes by the same steps again.
    const others = (await this.best()).filter(({ step }) => step < ranked.step && saved.has(step));
    return [...others, ranked]
      .filter(({ value }) => Number.isFinite(value))
      .sort((a, b) => a.value - b.value);
  }

  private writeRanking(ranking: readonly Ranked[]): Promise<void> {
    const text = `${JSON.stringify(ranking, null, 2)}\n`;
    return writeFileAtomic(join(this.folder, rankingName), text);
  }

  private async prune(saved: string): Promise<void> {
    for (const path of this.damaged)
      if (path !== saved) await rename(path, `${path}.damaged`).catch(() => undefined);
    this.damaged = [];
    const { last, every } = this.retention;
    const best = new Set((await this.best()).map(({ step }) => step));
    const old = (await this.list()).slice(last);
    for (const { step, path } of old)
      if (!best.has(step) && (every === 0 || step % every !== 0)) await rm(path, { force: true });
  }
}
