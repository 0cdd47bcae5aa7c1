// The bar of commands that take a while.
import cliProgress, { type SingleBar } from 'cli-progress';

/**
 * A bar on a terminal; nothing where standard error is none, or with `--quiet`. Stop it also after a failure:
 * the terminal gets its cursor back.
 */
export function terminalBar(format: string, { quiet }: { quiet?: boolean } = {}): SingleBar | null {
  if (!process.stderr.isTTY || quiet) return null;
  return new cliProgress.SingleBar({ format, barsize: 28, hideCursor: true });
}
