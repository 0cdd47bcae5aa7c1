// What the steps of a training measure, as means: of the steps between two lines of a log, and of every epoch. They
// are saved with the state, so that a run that was interrupted writes the lines of one that was not.
import { isRecord } from '../io/json.js';
import type { Json } from '../io/index.js';
import type { PhaseReport } from './cycle.js';

/** Means by name, and the images that each was taken over. */
type Means = Map<string, [mean: number, images: number]>;

/** Numbers of steps, on their way into a log. */
export class Measurements {
  private recent: Means = new Map();
  private epoch: Means = new Map();
  /** Of the last epoch that ended, until a line tells them. */
  private ended: Means = new Map();

  /** Takes in a step of so many images. What is not finite counts for nothing: such steps were left out. */
  add(values: Readonly<Record<string, number>>, images: number): void {
    for (const [name, value] of Object.entries(values)) {
      meet(this.recent, name, value, images);
      if (name.startsWith('train/')) meet(this.epoch, name, value, images);
    }
  }

  endEpoch(): void {
    this.ended = this.epoch;
    this.epoch = new Map();
  }

  /** The line of a log: means since the last one and, as Lightning names them, `_epoch` of one that ended meanwhile. */
  take(): Record<string, number> {
    const line = {
      ...Object.fromEntries([...this.recent].map(([name, [mean]]) => [name, mean])),
      ...Object.fromEntries([...this.ended].map(([name, [mean]]) => [`${name}_epoch`, mean])),
    };
    this.recent = new Map();
    this.ended = new Map();
    return line;
  }

  state(): Json {
    const { recent, epoch, ended } = this;
    return plain({ recent, epoch, ended });
  }

  /** Goes on with a saved state's; nothing was measured where there are none. */
  load(state: unknown): void {
    const { recent, epoch, ended } = isRecord(state) ? state : {};
    [this.recent, this.epoch, this.ended] = [recent, epoch, ended].map(meansOf);
  }
}

/** @internal A step's numbers by the names that they have in logs. */
export function numbersOf(reports: readonly PhaseReport[]): Record<string, number> {
  const values: Record<string, number> = {};
  for (const { name, loss, log, gradNorm } of reports) {
    values[`train/${name}_loss`] = loss;
    for (const [key, value] of Object.entries(log))
      values[`train/${key}` in values ? `train/${name}_${key}` : `train/${key}`] = value;
    values[`grad_norm/${name}`] = gradNorm;
  }
  return values;
}

// Moves the mean, and leaves the only number as it is.
function meet(means: Means, name: string, value: number, images: number): void {
  const [mean, before] = means.get(name) ?? [NaN, 0];
  if (!Number.isFinite(value)) return void means.set(name, [mean, before]);
  const all = before + images;
  means.set(name, [before === 0 ? value : mean + (value - mean) * (images / all), all]);
}

const plain = (groups: Record<string, Means>): Json =>
  Object.fromEntries(
    Object.entries(groups).map(([group, means]) => [group, Object.fromEntries(means)]),
  );

function meansOf(state: unknown): Means {
  const entries = Object.entries(isRecord(state) ? state : {});
  return new Map(
    entries.map(([name, entry]) => {
      const [mean, images] = Array.isArray(entry) ? (entry as unknown[]) : [];
      const isMean = typeof mean === 'number' && Number.isSafeInteger(images);
      // JSON has no NaN: what was finite in no step.
      return [name, isMean ? [mean, images as number] : [NaN, 0]] as const;
    }),
  );
}
