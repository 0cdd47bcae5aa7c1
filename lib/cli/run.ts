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
  return new Command(name).exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2));
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

/** A parser of options that are whole numbers from `least` on. */
export function integer(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`Expected a whole number, at least ${least}.`);
  };
}
