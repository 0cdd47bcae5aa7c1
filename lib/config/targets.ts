// Registries of targets. A configuration names a class by the dotted path that it has in the original
// (`target: ldm.models.autoencoder.AutoencoderKL`) and gives its arguments (`params:`); a registry knows
// which reader and which builder stand for that name here. Other rooms add theirs with `register`.
import { check } from '../errors.js';
import { ConfigError } from './error.js';
import { mapping, optional, subtree, text, type Field } from './fields.js';
import type { ConfigNode } from './node.js';
import { suggestion } from './nearest.js';

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

const entry = mapping<{ target: string; params?: ConfigNode }>({
  target: text,
  params: optional(subtree),
});

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
    const { target: named, params } = entry.read(node, name);
    const target = this.#known.get(named);
    const place = (node.kind === 'mapping' && node.entries.get('target')?.place) || node.place;
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
