// What is written of the command line, in docs/ and in `--help`: every command is there, and every example is a call
// that the commands accept.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { makeProgram } from '../../lib/cli/program.js';
import { trainingOf } from '../../lib/cli/trainings.js';
import { loadConfigTree } from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { root, source, sourceFiles } from '../support/source_tree.js';

/** A command and all below it, by the words that call them. */
function* commandsIn(command: Command, above = ''): Generator<[string, Command]> {
  const name = `${above}${command.name()}`;
  yield [name, command];
  for (const each of command.commands) yield* commandsIn(each, `${name} `);
}
const commands = [...commandsIn(makeProgram())];

/** The calls in a text, as lines. */
const callsIn = (text: string): string[] =>
  text
    .replaceAll(/\\\n\s*/g, '')
    .split('\n')
    .map((line) => line.trim().replace(/^npx /, ''))
    .filter((line) => /^emulsion( |$)/.test(line));

/** What a shell makes of a line, up to a comment or a redirection. */
function wordsOf(line: string): string[] {
  const words = line.match(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g)!;
  const end = words.findIndex((word) => /^[#>]/.test(word));
  return words.slice(0, end < 0 ? undefined : end).map((word) => word.replaceAll(/["']/g, ''));
}

function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({ writeOut: (written) => (text += written) }).outputHelp();
  return text;
}

const callsOf = (page: string): string[] =>
  [...source(page).matchAll(/```sh\n([\s\S]*?)```/g)].flatMap(([, block]) => callsIn(block));

describe('the pages', () => {
  const pages = ['docs/command-line.md', 'docs/evaluation.md'].flatMap(callsOf);
  const named = commands.filter(([name]) => name.split(' ').length === 2);
  test.each(named)('have an example of %s', (name) => {
    expect(pages.some((call) => `${call} `.startsWith(`${name} `))).toBe(true);
  });
});

describe('the help', () => {
  test.each(commands)('of %s has examples of its own', (name, command) => {
    const [, examples = ''] = helpOf(command).split('\nExamples:\n');
    const calls = callsIn(examples);
    expect(calls).not.toEqual([]);
    for (const call of calls) expect(`${call} `).toContain(`${name} `);
  });
});

const leaves = commands.filter(([, command]) => command.commands.length === 0);
test.each(leaves)('%s takes --json', (_, command) => {
  expect(command.options.map(({ long }) => long)).toContain('--json');
});

const pages = ['README.md', ...sourceFiles(['docs'], ['.md'])];

// Some calls read a file that the page only prints: "with a `name.yaml` such as".
const file = temporaryFolder();
const printed = /`([\w-]+\.yaml)` such as\s+```yaml\n([^]*?)```/g;
for (const [, name, text] of pages.map(source).join('').matchAll(printed))
  writeFileSync(file(name), text);
const pathOf = (path: string) => (existsSync(file(path)) ? file(path) : join(root, path));

const written = pages.flatMap(callsOf);
const told = commands.flatMap(([, command]) => callsIn(helpOf(command)));
test.each([...new Set([...written, ...told])])('%s', async (line) => {
  let command = makeProgram();
  let [, ...args] = wordsOf(line);
  for (;;) {
    const below = command.commands.find((each) => each.name() === args[0]);
    if (!below) break;
    [command, args] = [below, args.slice(1)];
  }
  const { operands, unknown } = command.parseOptions(args);
  expect(unknown).toEqual([]);
  for (const option of command.options.filter(({ mandatory }) => mandatory))
    expect(command.getOptionValue(option.attributeName()), option.flags).toBeDefined();
  const taken = command.registeredArguments;
  expect(operands.length).toBeGreaterThanOrEqual(taken.filter(({ required }) => required).length);
  if (!taken.at(-1)?.variadic) expect(operands.length).toBeLessThanOrEqual(taken.length);

  // Configurations of ours must take the values that follow them; a reader's own are not there.
  const { base = [], config = [] } = command.opts<{
    base?: string[];
    config?: string | string[];
  }>();
  const files = [base, command.name() === 'first-stage' ? config : []].flat();
  const paths = files.map(pathOf);
  if (files.length === 0 || !paths.every((path) => existsSync(path))) return;
  expect(trainingOf(await loadConfigTree(paths, operands)).learningRate).toBeGreaterThan(0);
});
