// Converts a checkpoint of PyTorch's to safetensors, then loads a first stage from it, and prints what each took of
// the system's memory at most, in bytes: a process of its own, so that nothing else counts. Its arguments are the
// checkpoint, the file to write and the name of the first stage's preset.
import { readFileSync } from 'node:fs';
import { convert } from '../../lib/cli/convert_checkpoint.js';
import {
  firstStagePresets,
  loadFirstStage,
  openCheckpoint,
  setDefaultDevice,
  type Module,
} from '../../lib/index.js';
import { valueOf } from './streaming_values.js';

const [path, output, preset] = process.argv.slice(2);
setDefaultDevice('cpu');

/** The most memory that this process has had. Unlike `maxRSS`, it has nothing of the process that started it. */
function peakBytes(): number {
  const [, kilobytes] = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))!;
  return 1024 * Number(kilobytes);
}

/** Every value of every tensor is the one that belongs to its name. */
async function verify(names: Iterable<string>, read: (name: string) => Promise<[number, number]>) {
  for (const name of names) {
    const [low, high] = await read(name);
    if (low !== valueOf(name) || high !== valueOf(name))
      throw new Error(`${name} is between ${low} and ${high}, not ${valueOf(name)}`);
  }
}

const begin = process.memoryUsage.rss();
await convert(path, output, { quiet: true });
const converting = peakBytes() - begin;

const model = await loadFirstStage(
  path,
  firstStagePresets[preset as keyof typeof firstStagePresets],
);
const loading = peakBytes() - begin;

const weights = (model as unknown as Module).stateDict();
await verify(weights.keys(), async (name) => {
  const x = weights.get(name)!;
  return [await x.min().item(), await x.max().item()];
});
const written = await openCheckpoint(output);
await verify(written.keys, async (name) => {
  const x = await written.get(name);
  const extremes: [number, number] = [await x.min().item(), await x.max().item()];
  x.dispose();
  return extremes;
});
console.log(JSON.stringify({ converting, loading, tensors: [weights.size, written.keys.length] }));
