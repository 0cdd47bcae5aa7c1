// What a stage needs to go on after an interruption, in one file that is replaced atomically: weights,
// their average, the optimizers' memory and the number of finished steps.
import { existsSync } from 'node:fs';
import { readSafetensors, writeSafetensors } from '../../lib/io/index.js';
import { tidy, type Ema, type Module, type OptimizerState, type Tensor } from '../../lib/index.js';
import type { Optimizers } from './optimizers.js';

export interface Trainee {
  model: Module;
  optimizers: Optimizers;
  ema: Ema;
}

const prefixes = { model: 'model.', ema: 'ema.', hidden: 'hidden.', others: 'others.' };
const optimizerNames = ['hidden', 'others'] as const;
type Plain = Omit<OptimizerState, 'tensors'>;

/** Saves the state after `step` finished steps. */
export async function saveState(
  path: string,
  { model, optimizers, ema }: Trainee,
  step: number,
): Promise<void> {
  await tidy(async () => {
    const tensors = new Map<string, Tensor>();
    const collect = (prefix: string, entries: Iterable<readonly [string, Tensor]>): void => {
      for (const [key, x] of entries) tensors.set(prefix + key, x.alias());
    };
    collect(prefixes.model, model.stateDict());
    collect(prefixes.ema, Object.entries(ema.stateDict()));
    const metadata: Record<string, string> = { step: String(step) };
    for (const name of optimizerNames) {
      const { tensors: slots, ...plain } = optimizers[name].stateDict();
      collect(prefixes[name], Object.entries(slots));
      metadata[name] = JSON.stringify(plain satisfies Plain);
    }
    await writeSafetensors(path, tensors, metadata);
  });
}

/** Brings a saved state back, if there is one. Returns the number of finished steps. */
export async function loadState(
  path: string,
  { model, optimizers, ema }: Trainee,
): Promise<number> {
  if (!existsSync(path)) return 0;
  const file = await readSafetensors(path);
  return tidy(async () => {
    const part = async (prefix: string): Promise<Record<string, Tensor>> => {
      const entries: [string, Tensor][] = [];
      for (const key of file.keys)
        if (key.startsWith(prefix)) entries.push([key.slice(prefix.length), await file.get(key)]);
      return Object.fromEntries(entries);
    };
    model.loadStateDict(await part(prefixes.model));
    await ema.loadStateDict(await part(prefixes.ema));
    for (const name of optimizerNames) {
      const plain = JSON.parse(file.metadata.get(name) ?? 'null') as Plain;
      optimizers[name].loadStateDict({ ...plain, tensors: await part(prefixes[name]) });
    }
    return Number(file.metadata.get('step'));
  });
}
