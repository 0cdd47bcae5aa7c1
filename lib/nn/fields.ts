// Finds the tensors and modules that a module owns: in its own fields, in declaration order. The path of
// fields is the key in a checkpoint, so no second list of names exists.
import { keep } from '../scope.js';
import { ArgumentError, check } from '../errors.js';
import { Tensor } from '../tensor.js';
import type { FileLayout } from './file_layout.js';

/** What the walk knows of a module: what {@link Module} extends. */
export abstract class ModuleNode {
  /** The facts that the printed tree shows behind the class's name, such as `3 → 8, kernel 3`. */
  facts(): string {
    return '';
  }

  /** How files hold one of the module's own tensors, if not as it lies in memory. */
  fileLayout(_field: string): FileLayout | null {
    return null;
  }
}

export type Role = 'parameter' | 'buffer';

/** A tensor of a module and where it sits. */
export interface Slot {
  /** Path from the module that was asked, such as `encoder.conv_in.weight`. */
  readonly key: string;
  readonly tensor: Tensor;
  readonly role: Role;
  /** The module whose field it is, and the path from there. */
  readonly owner: ModuleNode;
  readonly field: string;
  /** Puts another tensor in its place. */
  replace(tensor: Tensor): void;
}

const roles = new WeakMap<Tensor, Role>();

/**
 * Marks a tensor as trained: sets requiresGrad and takes it out of any scope, so that it lives as long
 * as its module. `this.weight = parameter(zeros([n]))`
 */
export function parameter(tensor: Tensor): Tensor {
  tensor.requiresGrad = true;
  return mark(tensor, 'parameter');
}

/** Marks a tensor as saved with the module but not trained, such as running statistics. */
export function buffer(tensor: Tensor): Tensor {
  check(!tensor.requiresGrad, () => 'buffer: a buffer cannot require a gradient; use parameter()');
  return mark(tensor, 'buffer');
}

/** @internal Gives a tensor the role that another one had. */
export function mark(tensor: Tensor, role: Role): Tensor {
  roles.set(tensor, role);
  return keep(tensor);
}

// A leaf made with requiresGrad needs no mark; it gets one, and stays a parameter when it is frozen.
function roleOf(tensor: Tensor, owner: ModuleNode, field: string): Role {
  const role = roles.get(tensor) ?? (tensor.requiresGrad && !tensor.node ? 'parameter' : undefined);
  if (role === undefined) {
    throw new ArgumentError(
      `${owner.constructor.name}: the field ${field} holds ${tensor.describe()}, which is neither a ` +
        'parameter nor a buffer. Wrap it in parameter() or buffer(), or make it a #private field.',
    );
  }
  roles.set(tensor, role);
  return role;
}

interface Entry {
  readonly field: string;
  readonly value: Tensor | ModuleNode;
  replace(tensor: Tensor): void;
}

// Tensors and modules among the fields, through arrays and plain objects but not into other modules.
function* entriesOf(container: object, path = '', open = new Set<object>()): Generator<Entry> {
  open.add(container);
  for (const [name, value] of Object.entries(container) as [string, unknown][]) {
    const field = path + name;
    if (value instanceof Tensor || value instanceof ModuleNode) {
      const replace = (tensor: Tensor) =>
        void ((container as Record<string, Tensor>)[name] = tensor);
      yield { field, value, replace };
    } else if (isContainer(value) && !open.has(value)) {
      yield* entriesOf(value, `${field}.`, open);
    }
  }
  open.delete(container);
}

function isContainer(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return Array.isArray(value) || prototype === Object.prototype || prototype === null;
}

/** The modules directly below, by field path. */
export function* childrenOf(module: ModuleNode): Generator<[string, ModuleNode]> {
  for (const { field, value } of entriesOf(module))
    if (value instanceof ModuleNode) yield [field, value];
}

/** The tensors in a module's own fields. */
export function* ownSlots(module: ModuleNode, prefix = ''): Generator<Slot> {
  for (const { field, value, replace } of entriesOf(module)) {
    if (!(value instanceof Tensor)) continue;
    const role = roleOf(value, module, field);
    yield { key: prefix + field, tensor: value, role, owner: module, field, replace };
  }
}

/** A module and all below it, by path; one that is used twice comes twice. The first path is ''. */
export function* modulesOf(
  module: ModuleNode,
  path = '',
  above: readonly ModuleNode[] = [],
): Generator<[string, ModuleNode]> {
  check(!above.includes(module), () => {
    const name = module.constructor.name;
    return `${name}: ${path} leads back to the module itself; make that field #private`;
  });
  yield [path, module];
  for (const [field, child] of childrenOf(module)) {
    yield* modulesOf(child, path === '' ? field : `${path}.${field}`, [...above, module]);
  }
}

/** The tensors of a module and of all modules below it. */
export function* slotsOf(module: ModuleNode): Generator<Slot> {
  for (const [path, owner] of modulesOf(module))
    yield* ownSlots(owner, path === '' ? '' : `${path}.`);
}
