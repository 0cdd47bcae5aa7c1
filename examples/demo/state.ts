// What a stage needs to go on after an interruption, in one file that is replaced atomically: weights,
// their average, the optimizer's memory and the number of finished steps.
import { existsSync } from 'node:fs';
import { readSafetensors, writeSafetensors } from '../../lib/io/index.js';
import { tidy, type AdamW, type Ema, type Module, type Tensor } from '../../lib/index.js';

export interface Trainee {
  model: Module;
  optimizer: AdamW;
  ema: Ema;
}

const prefixes = { model: 'model.', ema: 'ema.', optimizer: 'optimizer.' };

/** Saves the state after `step` finished steps. */
export async function saveState(
  path: string,
  { model, optimizer, ema }: Trainee,
  step: number,
): Promise<void> {
  await tidy(async () => {
    const memory = optimizer.stateDict();
    const tensors = new Map<string, Tensor>();
    const collect = (prefix: string, entries: Iterable<readonly [string, Tensor]>): void => {
      for (const [key, x] of entries) tensors.set(prefix + key, x.alias());
    };
    collect(prefixes.model, model.stateDict());
    collect(prefixes.ema, Object.entries(ema.stateDict()));
    collect(prefixes.optimizer, Object.entries(memory.tensors));
    await writeSafetensors(path, tensors, {
      step: String(step),
      steps: JSON.stringify(memory.steps),
      groups: JSON.stringify(memory.groups),
    });
  });
}

/** Brings a saved state back, if there is one. Returns the number of finished steps. */
export async function loadState(path: string, { model, optimizer, ema }: Trainee): Promise<number> {
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
    const stored = (key: string): unknown => JSON.parse(file.metadata.get(key) ?? 'null');
    optimizer.loadStateDict({
      tensors: await part(prefixes.optimizer),
      steps: stored('steps') as number[],
      groups: stored('groups') as Record<string, unknown>[],
    });
    return Number(file.metadata.get('step'));
  });
}
