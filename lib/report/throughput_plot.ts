// Plots of throughput with the axes of the paper's figure 7: samples a second, on a log scale, against quality.
import type { Curve, Plot } from './plot.js';
import type { ThroughputEntry, ThroughputFile } from './throughput_file.js';

/**
 * A curve for each sampler and batch, a dot for each number of steps. Where no entry has a quality, the steps
 * themselves stand for it.
 * @param colours taken in turn
 */
export function throughputPlot(
  files: readonly { name: string; file: ThroughputFile }[],
  colours: readonly string[],
): Plot {
  const curves: Curve[] = [];
  const judged = files.some(({ file }) =>
    file.entries.some(({ quality }) => quality !== undefined),
  );
  for (const { name, file } of files)
    for (const entries of groups(file.entries)) {
      const shown = judged ? entries.filter(({ quality }) => quality !== undefined) : entries;
      if (shown.length === 0) continue;
      const [{ sampler, batch }] = shown;
      const own = `${sampler}, batch ${batch}`;
      curves.push({
        name: files.length > 1 ? `${name}: ${own}` : own,
        colour: colours[curves.length % colours.length],
        dots: true,
        points: shown.map((each) => [each.samplesPerSecond, each.quality ?? each.steps]),
        labels: judged ? shown.map(({ steps }) => String(steps)) : undefined,
      });
    }
  const quality = files.find(({ file }) => file.qualityName)?.file.qualityName ?? 'quality';
  return {
    title: judged ? `${quality} against throughput` : 'Steps against throughput',
    x: { label: 'samples per second', scale: 'log' },
    y: judged ? { label: quality } : { label: 'sampling steps', scale: 'log' },
    curves,
  };
}

// By sampler and batch, steps ascending.
function groups(entries: readonly ThroughputEntry[]): ThroughputEntry[][] {
  const found = new Map<string, ThroughputEntry[]>();
  for (const entry of entries) {
    const key = JSON.stringify([entry.sampler, entry.batch]);
    found.set(key, [...(found.get(key) ?? []), entry]);
  }
  return [...found.values()].map((group) => group.sort((a, b) => a.steps - b.steps));
}
