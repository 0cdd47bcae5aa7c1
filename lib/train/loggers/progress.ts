// What a person sees of a training: a bar on a terminal, a line every few seconds elsewhere.
import cliProgress from 'cli-progress';
import type { Logger, RunStart, StepReport } from './logger.js';

export interface ProgressOptions {
  /** Default: standard output. */
  stream?: NodeJS.WritableStream & { isTTY?: boolean };
  /** Between two lines, where there is no terminal. Default 5. */
  secondsBetweenLines?: number;
  /** Milliseconds since some start. Default `performance.now`. */
  clock?: () => number;
}

// How much the last step counts in the average duration of a step.
const newest = 0.1;

/** Shows steps, loss, images per second and the time left. */
export class ProgressLogger implements Logger {
  private readonly stream: NodeJS.WritableStream & { isTTY?: boolean };
  private readonly secondsBetweenLines: number;
  private readonly clock: () => number;
  private run: RunStart = { name: '', step: 0, steps: 0 };
  private bar: cliProgress.SingleBar | null = null;
  private last = 0;
  private printed = 0;
  private secondsPerStep: number | null = null;

  constructor(options: ProgressOptions = {}) {
    this.stream = options.stream ?? process.stdout;
    this.secondsBetweenLines = options.secondsBetweenLines ?? 5;
    this.clock = options.clock ?? (() => performance.now());
  }

  start(run: RunStart): void {
    this.run = run;
    this.last = this.printed = this.clock();
    this.secondsPerStep = null;
    if (run.step > 0) this.stream.write(`${run.name}: going on after step ${run.step}\n`);
    if (!this.stream.isTTY) return;
    this.bar = new cliProgress.SingleBar({
      format: `${run.name} {bar} {value}/{total} | loss {loss} | {speed} images/s | {left} left`,
      barsize: 28,
      hideCursor: true,
      stream: this.stream,
    });
    this.bar.start(run.steps, run.step, { loss: '-', speed: '-', left: '-' });
  }

  step({ step, images, loss }: StepReport): void {
    const now = this.clock();
    const seconds = (now - this.last) / 1000;
    this.last = now;
    this.secondsPerStep =
      this.secondsPerStep === null
        ? seconds
        : newest * seconds + (1 - newest) * this.secondsPerStep;
    const rate = images / this.secondsPerStep;
    const shown = {
      loss: loss.toPrecision(4),
      speed: rate.toFixed(rate < 10 ? 1 : 0),
      left: duration(this.secondsPerStep * (this.run.steps - step)),
    };
    this.bar?.update(step, shown);
    if (this.bar || now - this.printed < 1000 * this.secondsBetweenLines) return;
    this.printed = now;
    this.stream.write(
      `${this.run.name} ${step}/${this.run.steps} | loss ${shown.loss} | ${shown.speed} images/s | ` +
        `${shown.left} left\n`,
    );
  }

  /** Nothing: the loss is shown already, the rest is for files. */
  scalars(): void {}

  text(step: number, message: string): void {
    // Clears the bar's line first; the bar draws itself again below.
    this.stream.write(`${this.bar ? '\r\u001b[K' : ''}step ${step}: ${message}\n`);
  }

  close(): void {
    this.bar?.stop();
    this.bar = null;
  }
}

function duration(seconds: number): string {
  const whole = Math.round(seconds);
  const [hours, rest] = [Math.floor(whole / 3600), whole % 3600];
  const two = (value: number) => String(value).padStart(2, '0');
  const minutes = `${two(Math.floor(rest / 60))}:${two(rest % 60)}`;
  return hours > 0 ? `${hours}:${minutes}` : minutes;
}
