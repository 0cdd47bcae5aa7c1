import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { defaultDevice, empty, keep } from '../../lib/index.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/**
 * Frees the memory of tensors that nobody holds any more. A test that counts what is live calls it before
 * it counts: what the tests before it forgot would else be freed in the middle, whenever V8 likes.
 */
export async function collectGarbage(): Promise<void> {
  const live = () => defaultDevice().memoryStats().tensors;
  const before = live();
  keep(empty([1])); // Forgotten, and in no scope. What V8 has collected is freed some turns later, at once.
  do {
    collect();
    await setImmediate();
  } while (live() > before);
}
