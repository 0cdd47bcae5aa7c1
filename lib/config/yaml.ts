// YAML text to a configuration tree. Nothing is constructed from tags, and size, depth and what aliases
// expand to are bounded, so that no file can exhaust memory or time.
import {
  Composer,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  Parser,
  Scalar,
  stringify,
  type CST,
  type ParsedNode,
} from 'yaml';
import type { Json } from '../io/index.js';
import { readSmallFile } from '../io/positional.js';
import { ConfigError, type Place } from './error.js';
import type { ConfigNode } from './node.js';
import { readScalar } from './scalar.js';

const largestText = 256 * 1024;
const largestTree = 50_000;
/** Levels of nesting, and of whatever else is followed from value to value. */
export const deepest = 64;

/** Reads a YAML file. @throws FileError when it cannot be read, ConfigError when it is no configuration */
export async function readYamlFile(path: string): Promise<ConfigNode> {
  const bytes = await readSmallFile(path, largestText, 'a configuration');
  return parseYaml(bytes.toString(), path);
}

/**
 * Parses YAML text.
 *
 * @param source name of the text in error messages
 * @param positions false for text without lines of its own, such as an override. Default true
 */
export function parseYaml(text: string, source: string, positions = true): ConfigNode {
  if (text.length > largestText)
    throw new ConfigError(`${text.length} characters are too many for a configuration.`, {
      source,
    });
  const lines = new LineCounter();
  const placeAt = (offset: number): Place => {
    if (!positions) return { source };
    const { line, col } = lines.linePos(offset);
    return { source, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const tokens = [...new Parser(lines.addNewLine).parse(text)];
  refuseDeepNesting(tokens, placeAt);
  const composer = new Composer({
    // Every scalar comes as text, and what it means is decided by readScalar alone.
    schema: 'failsafe',
    resolveKnownTags: false,
    logLevel: 'silent',
    // Checked by the reader below, in linear time.
    uniqueKeys: false,
  });
  const [document, second] = composer.compose(tokens, true, text.length);
  const [wrong] = document.errors;
  if (wrong) throw new ConfigError(`not valid YAML: ${wrong.message}.`, placeAt(wrong.pos[0]));
  if (second) throw new ConfigError('a second document begins here.', placeAt(second.range[0]));
  if (document.contents === null) return { kind: 'scalar', place: placeAt(0), value: null };
  return new TreeReader(placeAt).read(document.contents, 0);
}

// Composing recurses, and a stack that overflows there can end the process: this walk does not recurse.
function refuseDeepNesting(tokens: readonly CST.Token[], placeAt: (offset: number) => Place): void {
  const open = tokens.map((token): [CST.Token, number] => [token, 0]);
  for (let next = open.pop(); next; next = open.pop()) {
    const [token, depth] = next;
    if (depth > deepest)
      throw new ConfigError(`nested deeper than ${deepest} levels.`, placeAt(token.offset));
    const inner: (CST.Token | null | undefined)[] =
      'items' in token
        ? token.items.flatMap(({ key, value }) => [key, value])
        : [token.type === 'document' ? token.value : undefined];
    for (const each of inner) if (each) open.push([each, depth + 1]);
  }
}

/** Plain data as YAML that {@link parseYaml} and the original read to the same values. */
export function formatYaml(value: Json): string {
  // Version 1.1 quotes texts such as "no" and "1e-4", which are more than text there.
  return stringify(value, { version: '1.1', lineWidth: 0, aliasDuplicateObjects: false });
}

class TreeReader {
  private readonly anchors = new Map<string, ParsedNode>();
  private size = 0;

  constructor(private readonly placeAt: (offset: number) => Place) {}

  read(node: ParsedNode, depth: number): ConfigNode {
    const place = this.placeAt(node.range[0]);
    if (++this.size > largestTree)
      throw new ConfigError(`more than ${largestTree} values, aliases expanded.`, place);
    // An alias inside its own anchor ends here too.
    if (depth > deepest) throw new ConfigError(`nested deeper than ${deepest} levels.`, place);
    if (isAlias(node)) {
      const named = this.anchors.get(node.source);
      if (!named) throw new ConfigError(`the alias *${node.source} has no anchor.`, place);
      return this.read(named, depth + 1);
    }
    if (node.tag !== undefined)
      throw new ConfigError(`tags are not supported: remove ${node.tag}.`, place);
    if (node.anchor) this.anchors.set(node.anchor, node);
    if (isScalar(node)) {
      const text = String(node.value ?? '');
      const value = node.type === Scalar.PLAIN || node.type === undefined ? readScalar(text) : text;
      return { kind: 'scalar', place, value };
    }
    if (isSeq(node)) {
      const items = (node.items as ParsedNode[]).map((item) => this.read(item, depth + 1));
      return { kind: 'list', place, items };
    }
    if (!isMap(node)) throw new ConfigError('expected a value, a list or a mapping.', place);
    const entries = new Map<string, ConfigNode>();
    for (const { key, value } of node.items as { key: ParsedNode; value: ParsedNode | null }[]) {
      const keyPlace = this.placeAt(key.range[0]);
      if (!isScalar(key)) throw new ConfigError('a key must be a plain name.', keyPlace);
      const name = String(key.value ?? '');
      if (name === '__proto__')
        throw new ConfigError('the key "__proto__" is not allowed.', keyPlace);
      if (entries.has(name))
        throw new ConfigError(`the key ${JSON.stringify(name)} comes twice.`, keyPlace);
      const read: ConfigNode = value
        ? this.read(value, depth + 1)
        : { kind: 'scalar', place: keyPlace, value: null };
      // A reader looks for a value where its name stands.
      entries.set(name, { ...read, place: keyPlace });
    }
    return { kind: 'mapping', place, entries };
  }
}
