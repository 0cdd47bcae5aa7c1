// Several configurations become one: files from left to right, then overrides.
import { ConfigError } from './error.js';
import { nodeAt, type ConfigNode, type MappingNode, type Scalar } from './node.js';
import { deepest, parseYaml, readYamlFile } from './yaml.js';

/** Mappings merge key by key at every depth; anything else of `over` replaces what `under` has. */
export function merge(under: ConfigNode, over: ConfigNode): ConfigNode {
  if (under.kind !== 'mapping' || over.kind !== 'mapping') return over;
  const entries = new Map(under.entries);
  for (const [key, value] of over.entries) {
    const old = entries.get(key);
    entries.set(key, old ? merge(old, value) : value);
  }
  return { kind: 'mapping', place: under.place, entries };
}

/**
 * Reads `model.params.embed_dim=4`: a path of keys and a value in YAML.
 * @throws ConfigError when it is no such text
 */
export function parseOverride(text: string): MappingNode {
  const place = { source: `override ${JSON.stringify(text.slice(0, 200))}` };
  const equals = text.indexOf('=');
  const path = text.slice(0, Math.max(equals, 0)).split('.');
  if (equals < 0 || path.some((key) => !/^[\w-]+$/.test(key) || key === '__proto__'))
    throw new ConfigError('expected key.path=value, such as model.params.embed_dim=4.', place);
  if (path.length > deepest)
    throw new ConfigError(`the path has ${path.length} keys, more than ${deepest}.`, place);
  let node = parseYaml(text.slice(equals + 1), place.source, false);
  for (const key of path.reverse())
    node = { kind: 'mapping', place, entries: new Map([[key, node]]) };
  return node as MappingNode;
}

/** @param trees at least one; later ones win */
export function mergeAll(trees: readonly ConfigNode[]): MappingNode {
  for (const tree of trees)
    if (tree.kind !== 'mapping')
      throw new ConfigError('expected a mapping with keys such as model and data.', tree.place);
  return interpolate(trees.reduce(merge) as MappingNode);
}

/**
 * Loads configuration files, merges them from left to right, then the overrides, and fills in
 * interpolations such as `${model.params.embed_dim}`.
 *
 * @throws FileError or ConfigError, which name the place
 */
export async function loadConfigTree(
  paths: readonly string[],
  overrides: readonly string[] = [],
): Promise<MappingNode> {
  if (paths.length === 0)
    throw new ConfigError('name at least one configuration file.', { source: 'configuration' });
  const trees: ConfigNode[] = [];
  for (const path of paths) trees.push(await readYamlFile(path));
  return mergeAll([...trees, ...overrides.map(parseOverride)]);
}

const reference = /\$\{([^{}]*)\}/g;
const longestText = 4096;

// Only single values can be referred to: what a mapping or list would expand to has no bound.
function interpolate(root: MappingNode): MappingNode {
  const known = new Map<string, Scalar>();
  const underway = new Set<string>();

  const lookUp = (path: string, from: ConfigNode): Scalar => {
    if (known.has(path)) return known.get(path)!;
    if (!/^[\w-]+(\.[\w-]+)*$/.test(path))
      throw new ConfigError(
        `\${${path}} is not supported: an interpolation names a value by its path from the top, such as \${model.params.embed_dim}.`,
        from.place,
      );
    if (underway.has(path))
      throw new ConfigError(`\${${path}} refers to itself, by way of others or not.`, from.place);
    if (underway.size === deepest)
      throw new ConfigError(
        `\${${path}} is reached by way of ${deepest} others, which is too many.`,
        from.place,
      );
    const node = nodeAt(root, path.split('.'));
    if (node?.kind !== 'scalar')
      throw new ConfigError(
        `\${${path}} ${node ? `is a ${node.kind}; only a single value can be interpolated` : 'does not exist'}.`,
        from.place,
      );
    underway.add(path);
    const value = resolve(node.value, node);
    underway.delete(path);
    known.set(path, value);
    return value;
  };

  const resolve = (value: Scalar, node: ConfigNode): Scalar => {
    if (typeof value !== 'string' || !value.includes('${')) return value;
    const whole = /^\$\{([^{}]*)\}$/.exec(value);
    if (whole) return lookUp(whole[1], node);
    const text = value.replace(reference, (_, path: string) => String(lookUp(path, node)));
    if (text.length > longestText)
      throw new ConfigError(`interpolated to more than ${longestText} characters.`, node.place);
    return text;
  };

  const visit = (node: ConfigNode): ConfigNode => {
    if (node.kind === 'scalar') return { ...node, value: resolve(node.value, node) };
    if (node.kind === 'list') return { ...node, items: node.items.map(visit) };
    const entries = [...node.entries].map(([key, value]) => [key, visit(value)] as const);
    return { ...node, entries: new Map(entries) };
  };
  return visit(root) as MappingNode;
}
