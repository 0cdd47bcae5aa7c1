// Trains the tiny demo in the given folder, saves after every step, and kills itself once it has measured the
// given step of a stage: whoever watched it from outside might come too late.
import { loadEmoji } from '../../examples/demo/emoji.js';
import { MetricsFile, type Measurement } from '../../examples/demo/progress.js';
import { checkSettings } from '../../examples/demo/settings.js';
import { tinyRun, trainBoth } from './tiny_demo.js';

const [folder, last] = process.argv.slice(2);

class DeadlyMetrics extends MetricsFile {
  override append(measurement: Measurement): void {
    super.append(measurement);
    if (`${measurement.stage} ${measurement.step}` === last) process.kill(process.pid, 'SIGKILL');
  }
}

const set = await loadEmoji(checkSettings.pictures);
await trainBoth(
  tinyRun(folder, set, {
    settings: { ...checkSettings, secondsBetweenSaves: 0 },
    metrics: new DeadlyMetrics(`${folder}/metrics.jsonl`),
  }),
);
