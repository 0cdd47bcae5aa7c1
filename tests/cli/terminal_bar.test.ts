// The bar of commands that take a while, on a terminal that is none.
import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { terminalBar } from '../../lib/cli/terminal_bar.js';

const [hidden, shown] = ['\u001b[?25l', '\u001b[?25h'];

/** A stream that says it is a terminal, or not, and keeps what is written. */
function terminal(isTTY: boolean) {
  let text = '';
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString();
      done();
    },
  });
  return { stream: Object.assign(stream, { isTTY, columns: 100 }), written: () => text };
}

describe('the bar', () => {
  it('tells how far it is, and how far it came', () => {
    const { stream, written } = terminal(true);
    const bar = terminalBar('{bar} {picture}/{total} | step {step}', { stream })!;
    bar.start(4, 0, { picture: 0, step: 0 });
    expect(written()).toContain(hidden);
    expect(written()).toContain('0/4 | step 0');
    expect(written()).not.toContain(shown);
    bar.update(2.5, { picture: 2, step: 7 });
    bar.stop();
    const last = written().slice(written().lastIndexOf('2/4'));
    expect(last).toContain('2/4 | step 7');
    // 28 signs, five eighths of them full
    const drawn = /[█=]+/.exec(
      written().slice(0, written().lastIndexOf('2/4')).split('/4').at(-1)!,
    );
    expect(drawn![0].length).toBe(Math.round((28 * 2.5) / 4));
  });

  it('gives the terminal its cursor back, after a failure too', () => {
    const { stream, written } = terminal(true);
    const bar = terminalBar('{bar} {value}/{total}', { stream });
    expect(() => {
      try {
        bar?.start(4, 0);
        throw new Error('disk full');
      } finally {
        bar?.stop();
      }
    }).toThrow('disk full');
    expect(written().endsWith('\n')).toBe(true);
    expect(written().lastIndexOf(shown)).toBeGreaterThan(written().lastIndexOf(hidden));
  });

  it('is not there elsewhere, nor with --quiet', () => {
    const [file, quiet] = [terminal(false), terminal(true)];
    expect(terminalBar('{bar}', { stream: file.stream })).toBeNull();
    expect(terminalBar('{bar}', { stream: quiet.stream, quiet: true })).toBeNull();
    expect([file.written(), quiet.written()]).toEqual(['', '']);
  });
});
