// Plain data of a file as JSON: bounded, whatever it shares, nests or repeats.
import type { Json } from '../io/json.js';
import { Opaque, PythonName, type CheckpointValue } from '../io/torch/values.js';
import { StorageRef, TensorRef } from '../io/torch/tensor_ref.js';

const mostValues = 5000;
const deepest = 24;
const longestText = 1000;

/** What is beyond the bounds becomes `...`. */
export function plainOf(value: CheckpointValue | Json): Json {
  let left = mostValues;
  const visit = (each: CheckpointValue | Json, depth: number): Json => {
    if (--left < 0 || depth > deepest) return '...';
    if (each === null || typeof each === 'boolean') return each;
    if (typeof each === 'number') return Number.isFinite(each) ? each : String(each);
    if (typeof each === 'bigint' || each instanceof PythonName || each instanceof Opaque)
      return String(each);
    if (typeof each === 'string')
      return each.length > longestText ? `${each.slice(0, longestText)}...` : each;
    if (each instanceof Uint8Array) return `${each.byteLength} bytes`;
    if (each instanceof TensorRef) return `tensor [${each.shape.join(', ')}]`;
    if (each instanceof StorageRef) return `storage of ${each.count}`;
    if (Array.isArray(each) || each instanceof Set) {
      const items: Json[] = [];
      for (const inner of each) {
        if (left <= 0) break;
        items.push(visit(inner, depth + 1));
      }
      return items;
    }
    const entries: [string, Json][] = [];
    for (const [key, inner] of each instanceof Map ? each : Object.entries(each)) {
      if (left <= 0) break;
      entries.push([nameOf(key), visit(inner, depth + 1)]);
    }
    return Object.fromEntries(entries);
  };
  return visit(value, 0);
}

/** A dictionary's key as text. */
export function nameOf(key: CheckpointValue): string {
  const nested = typeof key === 'object' && key !== null && !(key instanceof PythonName);
  return nested ? '(a key that is no text)' : String(key).slice(0, longestText);
}
