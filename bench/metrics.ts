// Times what sets of features cost: FID, and precision, recall, density and coverage, with both sets in memory as
// `emulsion eval` holds them.
//   node --import ./scripts/typescript.mjs bench/metrics.ts [--fid 50000] [--neighbours 16000]
import { availableParallelism, cpus } from 'node:os';
import { Command } from 'commander';
import {
  engineInfo,
  FeatureStatistics,
  frechetDistance,
  neighbourScores,
  noise,
  tidy,
  type Tensor,
} from '../lib/index.js';

const options = new Command('metrics')
  .description('Times the metrics of sets of features.')
  .option('--fid <count>', 'features in each set for FID; 0: leave it out', Number, 50_000)
  .option('--neighbours <count>', 'for precision and recall; 0: leave it out', Number, 16_000)
  .option('--width <n>', 'numbers in a feature', Number, 2048)
  .parse()
  .opts<{ fid: number; neighbours: number; width: number }>();

const engine = engineInfo();
console.log(
  `${cpus()[0].model.trim()}, ${availableParallelism()} processors, Node ${process.version}, ` +
    `${engine.threads} threads, ${engine.level}`,
);
console.log('metric       samples  width  seconds  CPU s  GFLOP/s of CPU time  peak RSS, MB');

const { fid, neighbours, width } = options;
// Rank-one updates of both covariances, then the factors and eigenvalues, which take D³ each.
if (fid > 0) await time('FID', fid, 2 * fid * width ** 2 * 2, distance);
// Half of the pairs within each set, and all pairs across.
if (neighbours > 0)
  await time('neighbours', neighbours, 2 * neighbours ** 2 * width * 2, (real, generated) =>
    neighbourScores(real, generated),
  );

async function time(
  name: string,
  count: number,
  flops: number,
  measure: (real: Tensor, generated: Tensor) => Promise<unknown>,
): Promise<void> {
  await tidy(async () => {
    const features = (seed: number) => noise([count, width], { seed, device: 'cpu' });
    const [real, generated] = [features(1), features(2)];
    await real.device.synchronize();
    const [began, used] = [performance.now(), process.cpuUsage()];
    await measure(real, generated);
    const seconds = (performance.now() - began) / 1000;
    const { user, system } = process.cpuUsage(used);
    const busy = (user + system) / 1e6;
    const columns = [
      ...[name.padEnd(11), String(count).padStart(8), String(width).padStart(6)],
      ...[seconds.toFixed(1).padStart(8), busy.toFixed(1).padStart(6)],
      (flops / busy / 1e9).toFixed(1).padStart(20),
      (process.resourceUsage().maxRSS / 1024).toFixed(0).padStart(13),
    ];
    console.log(columns.join(' '));
  });
}

async function distance(real: Tensor, generated: Tensor): Promise<number> {
  const [a, b] = [new FeatureStatistics(), new FeatureStatistics()];
  await a.update(real);
  await b.update(generated);
  return frechetDistance(a.moments(), b.moments());
}
