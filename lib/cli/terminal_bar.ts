// The bar of commands that take a while.
import cliProgress, { type SingleBar } from 'cli-progress';

/** What a bar is drawn on. */
type BarStream = NodeJS.WritableStream & { readonly isTTY?: boolean };

/**
 * A bar on a terminal; nothing where standard error is none, or with `--quiet`. Stop it also after a failure:
 * the terminal gets its cursor back.
 *
 * @param options.stream default: standard error
 */
export function terminalBar(
  format: string,
  { quiet, stream = process.stderr }: { quiet?: boolean; stream?: BarStream } = {},
): SingleBar | null {
  if (!stream.isTTY || quiet) return null;
  return new cliProgress.SingleBar({ format, barsize: 28, hideCursor: true, stream });
}
