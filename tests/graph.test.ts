// The house's walls: dependencies point down and only down, in TypeScript and in C++.
import { describe, expect, test } from 'vitest';
import {
  findCycle,
  nativeIncludes,
  source,
  sourceFiles,
  typescriptImports,
} from './support/source_tree.js';

/** From bottom to top. A layer imports itself and what stands before it; brothers share a line. */
const layers: readonly (readonly string[])[] = [
  ['native'],
  ['tensor'],
  ['autograd'],
  ['random'],
  ['ops', 'io'],
  ['nn', 'optim'],
  ['ldm', 'metrics', 'data'],
  ['config'],
  ['train'],
  ['eval'],
  ['report'],
  ['cli'],
  ['index'],
];
/** Files of lib/ itself by layer; those not named here make up the tensor layer. */
const rootFiles: Record<string, readonly string[]> = {
  native: ['errors', 'dtype', 'native', 'device'],
  random: ['random', 'torch_random'],
  ops: ['capture'],
  index: ['index'],
};
/** Brothers that may use each other all the same. */
const allowedBrothers = ['ldm -> metrics'];

function layerOf(file: string): string {
  const [, first, second] = file.replace(/\.ts$/, '').split('/');
  if (second !== undefined) return first;
  return Object.keys(rootFiles).find((layer) => rootFiles[layer].includes(first)) ?? 'tensor';
}

describe('TypeScript', () => {
  const imports = typescriptImports(sourceFiles(['lib'], ['.ts']));
  const running = imports.filter(({ typeOnly }) => !typeOnly);

  test('imports point down', () => {
    const rank = (layer: string) => layers.findIndex((names) => names.includes(layer));
    const wrong = running.filter(({ from, to }) => {
      const [upper, lower] = [layerOf(from), layerOf(to)];
      if (upper === lower || allowedBrothers.includes(`${upper} -> ${lower}`)) return false;
      return rank(lower) < 0 || rank(lower) >= rank(upper);
    });
    expect(wrong.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });

  test('there is no cycle', () => {
    expect(findCycle(running)).toBeNull();
  });

  test('the library imports neither tests, benchmarks nor examples', () => {
    const outside = imports.filter(({ to }) => !to.startsWith('lib/'));
    expect(outside.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });
});

describe('C++', () => {
  const files = sourceFiles(['native'], ['.h', '.cc', '.cu', '.cuh']);
  const includes = nativeIncludes(files);
  const folder = (file: string) => file.split('/')[1];
  const below: Record<string, readonly string[]> = {
    core: [],
    ops: ['core'],
    cpu: ['ops', 'core'],
    cuda: ['ops', 'core'],
    binding: ['cpu', 'cuda', 'ops', 'core'],
  };

  test('includes point down; cpu and cuda never see each other', () => {
    const wrong = includes.filter(({ from, to }) => {
      const [upper, lower] = [folder(from), folder(to)];
      return upper !== lower && !below[upper]?.includes(lower);
    });
    expect(wrong.map(({ from, to }) => `${from} includes ${to}`)).toEqual([]);
  });

  test('there is no cycle', () => {
    expect(findCycle(includes)).toBeNull();
  });

  test('only binding knows Node-API', () => {
    const knowing = files.filter((file) => /#\s*include\s+[<"](napi|node)/.test(source(file)));
    expect(knowing.filter((file) => folder(file) !== 'binding')).toEqual([]);
  });
});

test('installing the package runs nothing', () => {
  const { gypfile, scripts } = JSON.parse(source('package.json')) as {
    gypfile?: boolean;
    scripts: Record<string, string>;
  };
  // npm compiles whatever has a binding.gyp, unless told not to.
  expect(gypfile).toBe(false);
  expect(
    Object.keys(scripts).filter((name) => /^(pre|post)?(install|prepare)$/.test(name)),
  ).toEqual([]);
});

describe('files', () => {
  const files = sourceFiles(
    ['lib', 'native', 'tests', 'bench', 'examples', 'scripts'],
    ['.ts', '.mjs', '.h', '.cc', '.cu', '.cuh'],
  );

  test('none is longer than 400 lines without saying why in its first lines', () => {
    const long = files.filter((file) => {
      const lines = source(file).split('\n');
      return lines.length > 401 && !/\blong\b/i.test(lines.slice(0, 30).join('\n'));
    });
    expect(long).toEqual([]);
  });

  test('none leaves work for later', () => {
    const marker = new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX'].join('|')})\\b`);
    expect(files.filter((file) => marker.test(source(file)))).toEqual([]);
  });
});
