// Architectures by name, as `--preset` gives them.
import { UsageError } from './run.js';

/** The preset of that name. @throws UsageError that lists those that are known */
export function presetNamed<T>(presets: Readonly<Record<string, T>>, name: string): T {
  if (Object.hasOwn(presets, name)) return presets[name];
  const known = Object.keys(presets).join(', ');
  throw new UsageError(`unknown preset '${name}'. Known are ${known}.`);
}
