// What a command prints, in place of the terminal.
import { beforeEach, vi } from 'vitest';

/** The lines of the test that runs, which it may empty. */
export function printedLines(): string[] {
  const lines: string[] = [];
  beforeEach(() => {
    lines.length = 0;
    vi.spyOn(console, 'log').mockImplementation((line: string) => void lines.push(line));
  });
  return lines;
}
