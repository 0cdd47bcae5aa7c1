// How a command ends: 0 for success, 1 for a failure, 2 for a call that makes no sense.
import { Command, InvalidArgumentError } from 'commander';
import { EmulsionError } from '../errors.js';

/** A command called in a way that makes no sense, whatever the files contain. Ends it with 2. */
export class UsageError extends EmulsionError {
  constructor(message: string) {
    super(message, 'ERR_USAGE');
  }
}

/** A command that ends the process with 2 when it, its options or subcommands are misspelt. */
export function newCommand(name: string): Command {
  return ending(new Command(name));
}

/** The same of a command of a kind of its own. */
export function ending<C extends Command>(command: C): C {
  return command.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2));
}

/** An action that tells expected errors in one line; anything else is a bug and keeps its stack. */
export function reporting<In extends unknown[]>(
  body: (...args: In) => Promise<void>,
): (...args: In) => Promise<void> {
  return async (...args) => {
    try {
      await body(...args);
    } catch (error) {
      if (!(error instanceof EmulsionError)) throw error;
      console.error(`emulsion: ${error.message}`);
      process.exitCode = error instanceof UsageError ? 2 : 1;
    }
  };
}

/** Prints a result of `--json`: one value, the only thing on the standard output. */
export function printJson(value: unknown): void {
  console.log(JSON.stringify(value, null, 2));
}

/** A parser of options that are whole numbers from `least` on. */
export function integer(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`Expected a whole number, at least ${least}.`);
  };
}

// npx and its like pass a signal on that the process has had already.
const sameSignalMs = 1000;

/**
 * Runs a body that the first Ctrl-C ends in good order; the second ends the process.
 * @param notice what is said after the first
 */
export async function interruptible<T>(
  notice: string,
  body: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  let first = 0;
  const stop = () => {
    if (!controller.signal.aborted) {
      first = performance.now();
      console.error(`${notice} Once more ends at once.`);
      controller.abort();
    } else if (performance.now() - first > sameSignalMs) process.exit(130);
  };
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, stop);
  try {
    return await body(controller.signal);
  } finally {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, stop);
  }
}

/** A parser of options that are numbers from `least` to `most`. */
export function decimal(least: number, most = Infinity): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== '' && Number.isFinite(value) && value >= least && value <= most)
      return value;
    const range = most === Infinity ? `of at least ${least}` : `from ${least} to ${most}`;
    throw new InvalidArgumentError(`Expected a number ${range}.`);
  };
}
