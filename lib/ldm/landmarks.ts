/** A look at a file before a network is built: what is built is no larger than a few times what somebody stored. */
import { check } from '../errors.js';
import type { StateReader } from '../io/state.js';

/** Shapes of some large tensors that any file of the network holds, by key. */
export type Landmarks = ReadonlyMap<string, readonly number[]>;

/** @throws ArgumentError that names the first tensor that is missing or of another shape */
export function checkLandmarks(what: string, landmarks: Landmarks, weights: StateReader): void {
  for (const [key, shape] of landmarks) {
    const found = weights.has(key) ? weights.info(key).shape : null;
    check(found?.join() === shape.join(), () => {
      const state = found ? `has the shape [${found.join(', ')}]` : 'is missing';
      return `${what}: ${weights.origin} is of another network than the spec: ${key} ${state}, expected [${shape.join(', ')}].`;
    });
  }
}
