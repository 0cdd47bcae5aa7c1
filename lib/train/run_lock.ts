// The lock of a folder: two processes that trained in it would take each other's states away. A file says who
// has it, and whoever finds the file asks whether that one still lives, so that nothing is left after a kill.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  constants,
  copyFile,
  link,
  readFile,
  rename,
  rm,
  stat,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { FileError } from '../errors.js';

/** Who has a folder. */
interface Holder {
  readonly pid: number;
  readonly host: string;
  /** When the process began, where the system tells: numbers of processes come again. */
  readonly began: string | null;
  /** For people. */
  readonly since: string;
}

/** What a folder is locked for, as its refusal to others says it. */
export interface FolderUse {
  /** `trains in`, of the process that has it. */
  readonly does: string;
  /** What two would do to each other. */
  readonly harm: string;
}

const training: FolderUse = { does: 'trains in', harm: "take each other's states away" };

const lockFile = 'lock.json';
/** Of other machines nothing is known but that they touch the file so often; */
const secondsBetweenTouches = 60;
/** after so long without that they are gone. */
const secondsOfPatience = 300;

const touching = new Map<string, NodeJS.Timeout>();

/**
 * Locks a folder for this process, which may do so again.
 * @throws FileError that names the process that has it
 */
export async function lockFolder(folder: string, use = training): Promise<void> {
  const path = join(folder, lockFile);
  const [pid, host] = [process.pid, hostname()];
  const own: Holder = { pid, host, began: beginOf(pid), since: new Date().toISOString() };
  for (;;) {
    if (await written(path, own)) break;
    const text = await readFile(path, 'utf8').catch(ignoreMissing);
    if (text === null) continue;
    const holder = parse(text);
    if (holder?.pid === pid && holder.host === host && holder.began === own.began) break;
    if (await isHeld(path, holder)) throw refusal(folder, holder, use);
    await putAway(path, text);
  }
  if (touching.has(path)) return;
  const touch = () => void utimes(path, new Date(), new Date()).catch(() => undefined);
  touching.set(path, setInterval(touch, 1000 * secondsBetweenTouches).unref());
}

/** Lets others have the folder; nothing where it is not this process's. */
export async function unlockFolder(folder: string): Promise<void> {
  const path = join(folder, lockFile);
  if (!touching.has(path)) return;
  clearInterval(touching.get(path));
  touching.delete(path);
  await rm(path, { force: true });
}

// Makes the file unless there is one; whoever is killed here leaves no lock that does not name it.
async function written(path: string, holder: Holder): Promise<boolean> {
  const whole = besides(path);
  await writeFile(whole, `${JSON.stringify(holder)}\n`);
  const isNew = (made: Promise<void>) =>
    made.then(
      () => true,
      (error: NodeJS.ErrnoException) => {
        if (error.code === 'EEXIST') return false;
        throw error;
      },
    );
  try {
    // Not every file system has links.
    const copied = () => isNew(copyFile(whole, path, constants.COPYFILE_EXCL));
    return await isNew(link(whole, path)).catch(copied);
  } finally {
    await rm(whole, { force: true });
  }
}

// A name as of files that a kill leaves behind, which the next run removes.
const besides = (path: string): string =>
  join(dirname(path), `.${lockFile}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`);

async function isHeld(path: string, holder: Holder | null): Promise<boolean> {
  if (holder?.host === hostname()) return isAlive(holder);
  const found = await stat(path).catch(ignoreMissing);
  return found !== null && Date.now() - found.mtimeMs < 1000 * secondsOfPatience;
}

function isAlive({ pid, began }: Holder): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // Not allowed to signal it: it is somebody else's, and there.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  return began === null || began === beginOf(pid);
}

// Of several processes that find a lock without a holder one moves it away. What was moved may be the lock of who
// was faster, who then gets it back.
async function putAway(path: string, text: string): Promise<void> {
  const aside = besides(path);
  try {
    await rename(path, aside);
  } catch (error) {
    return void ignoreMissing(error);
  }
  const moved = await readFile(aside, 'utf8');
  if (moved === text) await rm(aside, { force: true });
  else await rename(aside, path);
}

function refusal(folder: string, holder: Holder | null, { does, harm }: FolderUse): FileError {
  const who = holder ? `process ${holder.pid} on ${holder.host}` : 'another process';
  const since = holder ? ` since ${holder.since}` : '';
  const gone =
    holder?.host === hostname()
      ? ''
      : ` If it is gone, wait ${secondsOfPatience / 60} minutes or remove ${lockFile}.`;
  return new FileError(
    `${who} ${does} this folder${since}: two would ${harm}. End that one first, or ` +
      `choose another folder.${gone}`,
    folder,
  );
}

// null for what is no lock, or one that was torn by a kill.
function parse(text: string): Holder | null {
  try {
    const { pid, host, began = null, since } = JSON.parse(text) as Partial<Holder>;
    if (!Number.isSafeInteger(pid) || pid! < 1 || typeof host !== 'string') return null;
    return { pid: pid!, host, began, since: String(since) };
  } catch {
    return null;
  }
}

// Clock ticks since the machine was started: the 22nd field, behind a name that may hold anything.
function beginOf(pid: number): string | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

function ignoreMissing(error: unknown): null {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
  throw error;
}
