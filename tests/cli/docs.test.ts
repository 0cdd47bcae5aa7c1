// docs/command-line.md, evaluation.md and tasks/*.md: every command is there, and every example is a call that the
// commands accept.
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { classCommand } from '../../lib/cli/class2img.js';
import { convertCommand } from '../../lib/cli/convert.js';
import { evalCommand } from '../../lib/cli/eval.js';
import { firstStageCommands } from '../../lib/cli/first_stage_commands.js';
import { inpaintCommand } from '../../lib/cli/inpaint.js';
import { inspectCommand } from '../../lib/cli/inspect.js';
import { layoutCommand } from '../../lib/cli/layout2img.js';
import { reportCommand } from '../../lib/cli/report.js';
import { newCommand } from '../../lib/cli/run.js';
import { sampleCommand } from '../../lib/cli/sample.js';
import { throughputCommand } from '../../lib/cli/throughput.js';
import { semantic2imgCommand } from '../../lib/cli/semantic2img.js';
import { trainCommand } from '../../lib/cli/train.js';
import { trainingOf } from '../../lib/cli/trainings.js';
import { textCommand } from '../../lib/cli/txt2img.js';
import { upscaleCommand } from '../../lib/cli/upscale.js';
import { loadConfigTree } from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { root, source } from '../support/source_tree.js';

const makeCommands = (): Command[] => [
  ...[textCommand(), classCommand(), upscaleCommand(), semantic2imgCommand(), inpaintCommand()],
  ...[trainCommand(), sampleCommand(), ...firstStageCommands()],
  ...[convertCommand(), inspectCommand(), newCommand('doctor')],
  ...[throughputCommand(), reportCommand(), layoutCommand(), evalCommand()],
];
const manual = ['docs/command-line.md', 'docs/evaluation.md'].map(source);
const tasks = readdirSync(join(root, 'docs/tasks')).map((name) => source(`docs/tasks/${name}`));

/** The calls of pages, a line each. */
const callsOf = (pages: readonly string[]): string[] =>
  [...pages.join('').matchAll(/```sh\n([\s\S]*?)```/g)]
    .flatMap(([, block]) => block.replaceAll('\\\n', ' ').trim().split('\n'))
    .map((line) => line.trim().replaceAll(/\s+/g, ' '));
/** Its words; several in quotes are one. */
const wordsOf = (line: string): string[] =>
  line.match(/"[^"]*"|\S+/g)!.map((word) => word.replaceAll('"', ''));

const file = temporaryFolder();

// Some calls read a file that the page only prints: "with a `name.yaml` such as".
const printed = /`([\w-]+\.yaml)` such as\s+```yaml\n([^]*?)```/g;
for (const [, name, text] of tasks.join('').matchAll(printed)) writeFileSync(file(name), text);
const baseOf = (path: string) => (existsSync(file(path)) ? file(path) : join(root, path));

test.each(makeCommands().map((command) => command.name()))('%s has an example', (name) => {
  expect(callsOf(manual).some((line) => wordsOf(line)[1] === name)).toBe(true);
});

const leaves = makeCommands()
  .flatMap((command) => (command.commands.length > 0 ? command.commands : [command]))
  .filter((command) => command.name() !== 'doctor'); // main.ts has its options
test.each(leaves.map((command) => [command.name(), command] as const))(
  '%s takes --json',
  (_, command) => {
    expect(command.options.map(({ long }) => long)).toContain('--json');
  },
);

test.each(callsOf([...manual, ...tasks]))('%s', async (line) => {
  const [program, name, ...rest] = wordsOf(line);
  expect(program).toBe('emulsion');
  const called = makeCommands().find((each) => each.name() === name)!;
  const part = called.commands.find((each) => each.name() === rest[0]);
  const [command, args] = part ? [part, rest.slice(1)] : [called, rest];
  const { operands, unknown } = command.parseOptions(args);
  expect(unknown).toEqual([]);
  const required = command.options.filter((option) => option.mandatory);
  for (const option of required)
    expect(command.getOptionValue(option.attributeName()), option.flags).toBeDefined();
  expect(operands.length).toBeGreaterThanOrEqual(
    command.registeredArguments.filter((argument) => argument.required).length,
  );
  const { base = [] } = command.opts<{ base?: string[] }>();
  if (base.length === 0) return;
  const tree = await loadConfigTree(base.map(baseOf), operands);
  expect(trainingOf(tree).learningRate).toBeGreaterThan(0);
});
