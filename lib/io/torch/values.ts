// What a pickle can hold once it is read here: plain data, tensors, and names of Python objects.
import type { StorageRef, TensorRef } from './tensor_ref.js';

/**
 * Plain data of a checkpoint. Dictionaries, and objects of the few classes that are known to hold plain
 * data, are Maps; lists and tuples are arrays. Python's integers are numbers, beyond 2^53 bigints. Of any
 * other object only the name of its maker is known.
 * Containers may be shared and may contain themselves.
 */
export type CheckpointValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | TensorRef
  | StorageRef
  | PythonName
  | Opaque
  | CheckpointValue[]
  | CheckpointMap
  | Set<CheckpointValue>;

/** A dictionary; keys are mostly strings and integers. */
export type CheckpointMap = Map<CheckpointValue, CheckpointValue>;

/** A class, function or constant that the file names. Nothing is imported: only the name is kept. */
export class PythonName {
  /** @internal */
  constructor(
    readonly module: string,
    readonly name: string,
  ) {}

  toString(): string {
    return `${this.module}.${this.name}`;
  }
}

/** What a class or function beyond the known ones would have made: it was not called. */
export class Opaque {
  /** @internal What the file gives it: arguments, attributes and items. */
  readonly parts: CheckpointValue[];

  /** @internal */
  constructor(
    /** The class or function, with its module. */
    readonly name: string,
    parts: readonly CheckpointValue[],
  ) {
    this.parts = [...parts];
  }

  toString(): string {
    return `<${this.name}>`;
  }
}

/** How errors show what should be a number. Other values may be nested so that printing them never ends. */
export function shownNumber(value: CheckpointValue): string {
  return typeof value === 'number' || typeof value === 'bigint' ? String(value) : '?';
}
