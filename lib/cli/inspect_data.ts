// A checkpoint's plain data as JSON: bounded, whatever a file shares, nests or repeats.
import type { Json } from '../io/model_folder.js';
import { PythonName, type CheckpointValue } from '../io/torch/values.js';
import { StorageRef, TensorRef } from '../io/torch/tensor_ref.js';

const mostValues = 5000;
const deepest = 24;
const longestText = 1000;

/** What is beyond the bounds becomes `...`. */
export function plainOf(value: CheckpointValue): Json {
  let left = mostValues;
  const visit = (each: CheckpointValue, depth: number): Json => {
    if (--left < 0 || depth > deepest) return '...';
    if (each === null || typeof each === 'boolean') return each;
    if (typeof each === 'number') return Number.isFinite(each) ? each : String(each);
    if (typeof each === 'bigint' || each instanceof PythonName) return String(each);
    if (typeof each === 'string')
      return each.length > longestText ? `${each.slice(0, longestText)}...` : each;
    if (each instanceof Uint8Array) return `${each.byteLength} bytes`;
    if (each instanceof TensorRef) return `tensor [${each.shape.join(', ')}]`;
    if (each instanceof StorageRef) return `storage of ${each.count}`;
    if (each instanceof Map) {
      const entries: [string, Json][] = [];
      for (const [key, inner] of each) {
        if (left <= 0) break;
        entries.push([keyOf(key), visit(inner, depth + 1)]);
      }
      return Object.fromEntries(entries);
    }
    const items: Json[] = [];
    for (const inner of each) {
      if (left <= 0) break;
      items.push(visit(inner, depth + 1));
    }
    return items;
  };
  return visit(value, 0);
}

function keyOf(key: CheckpointValue): string {
  const plain = typeof key === 'object' && key !== null && !(key instanceof PythonName);
  return plain ? '(a key that is no text)' : String(key).slice(0, longestText);
}
