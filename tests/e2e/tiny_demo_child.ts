// Trains the tiny demo in the given folder, saves after every step, and says where it is: a process to
// be killed.
import { loadEmoji } from '../../examples/demo/emoji.js';
import { MetricsFile, type Measurement } from '../../examples/demo/progress.js';
import { checkSettings } from '../../examples/demo/settings.js';
import { tinyRun, trainBoth } from './tiny_demo.js';

class SpokenMetrics extends MetricsFile {
  override append(measurement: Measurement): void {
    super.append(measurement);
    console.log(`${measurement.stage} ${measurement.step}`);
  }
}

const folder = process.argv[2];
const set = await loadEmoji(checkSettings.pictures);
await trainBoth(
  tinyRun(folder, set, {
    settings: { ...checkSettings, secondsBetweenSaves: 0 },
    metrics: new SpokenMetrics(`${folder}/metrics.jsonl`),
  }),
);
