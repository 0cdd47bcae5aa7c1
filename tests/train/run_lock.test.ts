// Who may train in a folder: one process at a time, and whoever comes after a kill.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { FileError, openRunFolder } from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { train } from './run.js';

const inFolder = temporaryFolder();
let count = 0;
const folder = () => inFolder(`run-${count++}`);
const lockOf = (path: string) => join(path, 'lock.json');

/** A folder with a run in it. */
async function trained(): Promise<string> {
  const path = folder();
  await train(path, { steps: 1 });
  return path;
}

const resume = (path: string) => openRunFolder(path, { resume: true });
const lock = (path: string, holder: object) =>
  writeFileSync(lockOf(path), JSON.stringify({ host: hostname(), since: 'noon', ...holder }));

/** A process that does nothing, until it is killed. */
function bystander() {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
  onTestFinished(() => void child.kill('SIGKILL'));
  const kill = async () => {
    const end = once(child, 'exit');
    child.kill('SIGKILL');
    await end;
  };
  return { pid: child.pid!, kill };
}

describe('the lock of a run', () => {
  it('is there while it trains, and gone behind it', async () => {
    const path = folder();
    let seen = '';
    const logger = {
      step: () => void (seen = readFileSync(lockOf(path), 'utf8')),
      scalars: () => undefined,
      close: () => undefined,
    };
    await train(path, { steps: 1, loggers: [logger] });
    expect(JSON.parse(seen)).toMatchObject({ pid: process.pid, host: hostname() });
    expect(existsSync(lockOf(path))).toBe(false);
    await train(path, { steps: 2, resume: true });
    expect(existsSync(lockOf(path))).toBe(false);
  });

  it('is given back by a training that fails', async () => {
    const path = folder();
    const fails = {
      step: () => {
        throw new Error('disk full');
      },
      scalars: () => undefined,
      close: () => undefined,
    };
    await expect(train(path, { steps: 1, loggers: [fails] })).rejects.toThrow('disk full');
    expect(existsSync(lockOf(path))).toBe(false);
  });

  it('keeps another process out, and names the one that has it', async () => {
    const path = await trained();
    const { pid, kill } = bystander();
    lock(path, { pid });
    // what the other one is writing
    const unfinished = join(path, 'checkpoints', `.step.${pid}.0123abcd.tmp`);
    writeFileSync(unfinished, 'half a state');
    const refused = resume(path);
    await expect(refused).rejects.toThrow(FileError);
    await expect(refused).rejects.toThrow(
      `process ${pid} on ${hostname()} trains in this folder since noon`,
    );
    expect(existsSync(unfinished)).toBe(true);

    await kill();
    await resume(path);
    expect(existsSync(unfinished)).toBe(false);
    expect(JSON.parse(readFileSync(lockOf(path), 'utf8'))).toMatchObject({ pid: process.pid });
    expect(readdirSync(path).filter((name) => name.includes('lock'))).toEqual(['lock.json']);
  });

  it.runIf(process.platform === 'linux')(
    'is not that of a process that only has the same number',
    async () => {
      const path = await trained();
      lock(path, { pid: bystander().pid, began: '1' });
      await resume(path);
    },
  );

  it('of another machine counts as long as it is touched', async () => {
    const path = await trained();
    lock(path, { pid: 1, host: 'elsewhere' });
    await expect(resume(path)).rejects.toThrow(
      /process 1 on elsewhere trains .*wait 5 minutes or remove lock\.json/s,
    );
    const earlier = new Date(Date.now() - 6 * 60_000);
    utimesSync(lockOf(path), earlier, earlier);
    await resume(path);
  });

  it('that says nothing counts no longer', async () => {
    const path = await trained();
    writeFileSync(lockOf(path), '');
    await expect(resume(path)).rejects.toThrow('another process trains in this folder');
    utimesSync(lockOf(path), 0, 0);
    await resume(path);
  });

  it('lets one of several have a folder whose holder is gone', async () => {
    const path = await trained();
    const { pid, kill } = bystander();
    await kill();
    lock(path, { pid });
    await Promise.all(Array.from({ length: 8 }, () => resume(path)));
    expect(readdirSync(path).filter((name) => name.includes('lock'))).toEqual(['lock.json']);
  });
});
