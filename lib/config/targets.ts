// Registries of targets. A configuration names a class by the dotted path that it has in the original
// (`target: ldm.models.autoencoder.AutoencoderKL`) and gives its arguments (`params:`); a registry knows
// which reader and which builder stand for that name here. Other rooms add theirs with `register`.
import { check } from '../errors.js';
import { ConfigError } from './error.js';
import { mapping, optional, subtree, text, type Field, type FieldsOf } from './fields.js';
import { suggestion } from '../suggestion.js';
import { nodeAt, type ConfigNode } from './node.js';

/** What stands behind a target's name. */
export interface Target<Spec, Built, Context extends unknown[]> {
  /** Reads `params`. @throws ConfigError at the place of what is wrong */
  readonly params: Field<Spec>;
  /** Makes the object. */
  build(spec: Spec, ...context: Context): Built;
}

/** An entry of a configuration that was read, and can be built. */
export interface Instance<Spec, Built, Context extends unknown[]> {
  /** the name that the configuration used */
  readonly target: string;
  readonly spec: Spec;
  build(...context: Context): Built;
}

/** A class by its dotted path, and its arguments. */
export interface TargetEntry {
  target: string;
  params?: ConfigNode;
}

/** The keys of a {@link TargetEntry}, for mappings that have more. */
export const targetFields: FieldsOf<TargetEntry> = { target: text, params: optional(subtree) };

const entry = mapping<TargetEntry>(targetFields);

/**
 * The targets that may stand in one kind of place.
 *
 * ```ts
 * export const models = new Targets<UNetConfig, UNet>('a network');
 * models.register(['ldm.modules.diffusionmodules.openaimodel.UNetModel'], { params, build });
 * models.read(node, 'unet_config').build();
 * ```
 */
export class Targets<Spec, Built, Context extends unknown[] = []> {
  readonly #known = new Map<string, Target<Spec, Built, Context>>();

  /** @param what the kind of thing, with its article, for error messages */
  constructor(readonly what: string) {}

  /** @param names dotted paths that mean this target, the original's and our own */
  register<S extends Spec>(names: readonly string[], target: Target<S, Built, Context>): void {
    for (const name of names) {
      check(!this.#known.has(name), () => `Targets: '${name}' is registered already.`);
      // Only specs that this target has read come back to it.
      this.#known.set(name, target as unknown as Target<Spec, Built, Context>);
    }
  }

  get names(): string[] {
    return [...this.#known.keys()];
  }

  /** Reads a mapping of `target` and `params`. */
  read(node: ConfigNode, name: string): Instance<Spec, Built, Context> {
    return this.find(node, entry.read(node, name));
  }

  /** As {@link read}, of a mapping that was read with more keys: `node` is where errors point. */
  find(node: ConfigNode, { target: named, params }: TargetEntry): Instance<Spec, Built, Context> {
    const target = this.#known.get(named);
    const place = nodeAt(node, ['target'])?.place ?? node.place;
    if (!target) {
      const hint = suggestion(named, this.names) || ` Known are ${this.names.join(', ')}.`;
      throw new ConfigError(`'${named}' is not known as ${this.what}.${hint}`, place);
    }
    const empty: ConfigNode = { kind: 'mapping', place, entries: new Map() };
    const spec = target.params.read(params ?? empty, 'params');
    return { target: named, spec, build: (...context) => target.build(spec, ...context) };
  }

  /** As a field of a mapping. */
  get field(): Field<Instance<Spec, Built, Context>> {
    return { read: (node, name) => this.read(node, name) };
  }
}
