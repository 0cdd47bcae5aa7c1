// How `emulsion train` may be called: configurations after one flag or several, values among them.
import { afterEach, describe, expect, test, vi } from 'vitest';
import { writeFileSync } from 'node:fs';
import { trainCommand } from '../../lib/cli/train.js';
import { temporaryFolder } from '../io/temporary.js';
import { tinyConfigs } from './tiny_configs.js';

const file = temporaryFolder();

describe('configurations and values', () => {
  const whole = (...args: string[]) => {
    const command = trainCommand();
    const { operands, unknown } = command.parseOptions(args);
    return { base: command.opts<{ base: string[] }>().base, operands, unknown };
  };

  test.each([
    ['-b a.yaml b.yaml x.y=1 -t', ['a.yaml', 'b.yaml'], ['x.y=1']],
    ['--base a.yaml b.yaml c.yaml', ['a.yaml', 'b.yaml', 'c.yaml'], []],
    ['--base a.yaml --base b.yaml x=1', ['a.yaml', 'b.yaml'], ['x=1']],
    ['--base a.yaml x=1 b.yaml x=2', ['a.yaml', 'b.yaml'], ['x=1', 'x=2']],
    ['x=1 --base a.yaml x=2 --steps 5 x=3', ['a.yaml'], ['x=1', 'x=2', 'x=3']],
    ['-b ./x=1.yaml ./y=2.yaml', ['./x=1.yaml', './y=2.yaml'], []],
    // the value of another option is no configuration
    ['-b a.yaml -n name x=1', ['a.yaml'], ['x=1']],
    ['--base=a.yaml b.yaml', ['a.yaml'], ['b.yaml']],
  ])('%s', (line, base, operands) => {
    expect(whole(...line.split(' '))).toEqual({ base, operands, unknown: [] });
  });

  test('are those of the subcommand behind its name', () => {
    const [firstStage] = trainCommand().commands;
    const { operands } = firstStage.parseOptions('-c a.yaml b.yaml -b 3 x=1'.split(' '));
    expect(firstStage.opts()).toMatchObject({ config: ['a.yaml', 'b.yaml'], batch: 3 });
    expect(operands).toEqual(['x=1']);
    const call = ['first-stage', '-b', '3', '-c', 'a.yaml'];
    expect(trainCommand().parseOptions(call)).toEqual({
      operands: ['first-stage'],
      unknown: call.slice(1),
    });
  });
});

describe('called', () => {
  afterEach(() => {
    vi.restoreAllMocks();
    process.exitCode = undefined;
  });
  const call = (...args: string[]) => trainCommand().parseAsync(args, { from: 'user' });

  test('with two files after one flag', async () => {
    const { first } = tinyConfigs(file);
    writeFileSync(file('first.yaml'), first);
    writeFileSync(file('more.yaml'), 'model: {params: {embed_dim: 5}}\nemulsion: {seed: 1}\n');
    const log = vi.spyOn(console, 'log').mockImplementation(() => undefined);
    await call(
      '--base',
      file('first.yaml'),
      file('more.yaml'),
      'emulsion.seed=9',
      '--dry-run',
      '--json',
    );
    expect(JSON.parse(log.mock.calls[0][0] as string)).toMatchObject({
      configuration: { model: { params: { embed_dim: 5 } }, emulsion: { seed: 9, save_every: 4 } },
    });
  });

  test('with a file that no flag names', async () => {
    const error = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    await call('--resume', 'latest', 'more.yaml');
    expect(error.mock.calls[0][0]).toMatch(
      /'more\.yaml' is no value of the configuration, key\.path=value.*with --base more\.yaml/,
    );
    expect(process.exitCode).toBe(2);
  });
});
