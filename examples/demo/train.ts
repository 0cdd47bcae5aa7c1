// The loop both stages share: steps, the schedule of the learning rate, the average of the weights,
// progress, and saving often enough that an interruption costs a minute.
import { capture, tidy, type Tensor } from '../../lib/index.js';
import type { MetricsFile } from './progress.js';
import { Progress } from './progress.js';
import { rateAt, type StageSettings } from './settings.js';
import { loadState, saveState, type Trainee } from './state.js';

const stepsBetweenMetrics = 10;

export interface Stage {
  name: string;
  settings: StageSettings;
  trainee: Trainee;
  /** Where the state is kept. */
  path: string;
  metrics: MetricsFile;
  signal: AbortSignal;
  secondsBetweenSaves: number;
  /** Draws what a step is computed of. */
  inputs: (step: number) => Tensor[];
  /** The loss of that, one number. A function of tensors alone: its work is recorded once and replayed. */
  loss: (...inputs: Tensor[]) => Tensor;
}

/** Trains to the last step, from wherever an earlier run stopped. Returns the seconds this run spent. */
export async function train(stage: Stage): Promise<number> {
  const { name, settings, trainee, path, metrics, signal, secondsBetweenSaves } = stage;
  const { optimizers, ema } = trainee;
  const first = await loadState(path, trainee);
  if (first >= settings.steps) return 0;
  await metrics.rewind(name, first);
  if (first > 0) console.log(`${name}: going on after step ${first}`);

  const backward = capture((...inputs: Tensor[]) => {
    const loss = stage.loss(...inputs);
    loss.backward();
    return loss;
  });
  const start = performance.now();
  const progress = new Progress(name, settings.steps, first, settings.batch);
  let saved = performance.now();
  // Reading a loss waits for its step: read the previous one while the next is computed.
  let pending: { step: number; value: Promise<number> } | null = null;
  const report = async (): Promise<void> => {
    if (!pending) return;
    const { step, value } = pending;
    const loss = await value;
    if (!Number.isFinite(loss)) throw new Error(`${name}: the loss of step ${step} is ${loss}`);
    progress.step(step + 1, loss);
    if ((step + 1) % stepsBetweenMetrics === 0) {
      const images = (step + 1) * settings.batch;
      metrics.append({
        stage: name,
        step: step + 1,
        images,
        loss,
        seconds: (performance.now() - start) / 1000,
      });
    }
  };

  try {
    for (let step = first; step < settings.steps; ++step) {
      signal.throwIfAborted();
      const value = tidy(() => {
        const loss = backward(...stage.inputs(step));
        optimizers.step(rateAt(step, settings));
        ema.update();
        return loss.item();
      });
      await report();
      pending = { step, value };
      if (performance.now() - saved > 1000 * secondsBetweenSaves) {
        await saveState(path, trainee, step + 1);
        saved = performance.now();
      }
    }
    await report();
    await saveState(path, trainee, settings.steps);
  } catch (error) {
    // What the finished steps have learnt is kept; the interrupted one is done again.
    if (signal.aborted && pending) await saveState(path, trainee, pending.step + 1);
    throw error;
  } finally {
    progress.stop();
    backward.dispose();
  }
  return (performance.now() - start) / 1000;
}
