// What the demo says while it works: a bar on a terminal, a line every few seconds elsewhere, and every
// measurement as JSONL.
import { appendFileSync, readFileSync } from 'node:fs';
import cliProgress from 'cli-progress';
import { writeFileAtomic } from '../../lib/io/index.js';

const secondsBetweenLines = 5;

const clock = (seconds: number): string =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`;

/** Progress of one stage. Call `step` after each training step, `stop` at the end. */
export class Progress {
  private readonly bar: cliProgress.SingleBar | null;
  private readonly start = performance.now();
  private printed = performance.now();

  constructor(
    private readonly stage: string,
    private readonly total: number,
    private readonly first: number,
    private readonly imagesPerStep: number,
  ) {
    this.bar = process.stdout.isTTY
      ? new cliProgress.SingleBar({
          format: `${stage} {bar} {percentage}% | loss {loss} | {speed} images/s | {left} left`,
          barsize: 28,
          hideCursor: true,
        })
      : null;
    this.bar?.start(total, first, { loss: '-', speed: '-', left: '-' });
  }

  /** @param done steps finished so far, those of earlier runs included. */
  step(done: number, loss: number): void {
    const seconds = (performance.now() - this.start) / 1000;
    const perStep = seconds / Math.max(1, done - this.first);
    const speed = (this.imagesPerStep / perStep).toFixed(0);
    const left = clock(perStep * (this.total - done));
    this.bar?.update(done, { loss: loss.toFixed(4), speed, left });
    if (this.bar || performance.now() - this.printed < 1000 * secondsBetweenLines) return;
    this.printed = performance.now();
    const percent = ((100 * done) / this.total).toFixed(0).padStart(3);
    console.log(
      `${this.stage} ${percent}% | loss ${loss.toFixed(4)} | ${speed} images/s | ${left} left`,
    );
  }

  stop(): void {
    this.bar?.stop();
  }
}

export interface Measurement {
  stage: string;
  step: number;
  images: number;
  [name: string]: number | string;
}

/** Measurements of a run, one JSON object per line. Survives interruptions: what is written stays. */
export class MetricsFile {
  constructor(readonly path: string) {}

  append(measurement: Measurement): void {
    appendFileSync(this.path, `${JSON.stringify(measurement)}\n`);
  }

  /** Every complete line; a torn last one (the process was killed while writing) is left out. */
  read(): Measurement[] {
    let text: string;
    try {
      text = readFileSync(this.path, 'utf8');
    } catch {
      return [];
    }
    return text.split('\n').flatMap((line) => {
      try {
        return line ? [JSON.parse(line) as Measurement] : [];
      } catch {
        return [];
      }
    });
  }

  /** Drops what a stage wrote beyond the step it resumes from. */
  async rewind(stage: string, step: number): Promise<void> {
    const kept = this.read().filter((each) => each.stage !== stage || each.step <= step);
    await writeFileAtomic(this.path, kept.map((each) => `${JSON.stringify(each)}\n`).join(''));
  }
}
