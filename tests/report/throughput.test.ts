// Throughput: what is measured, how it is stored and read, and how a plot shows it.
import { existsSync, writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import {
  buildLatentDiffusion,
  checkThroughput,
  defaultDevice,
  describeMachine,
  LatentDiffusion,
  manualSeed,
  measureThroughput,
  readThroughput,
  saveLatentDiffusion,
  throughputPlot,
  writeThroughput,
  type LatentDiffusionSpec,
  type ThroughputEntry,
} from '../../lib/index.js';
import { emulsion } from '../cli/emulsion.js';
import { temporaryFolder } from '../io/temporary.js';
import { measuredThroughput } from './fixtures.js';

const file = temporaryFolder();
const spec = (extra: Partial<LatentDiffusionSpec> = {}, unet = {}): LatentDiffusionSpec => ({
  unet: {
    inChannels: 3,
    outChannels: 3,
    modelChannels: 8,
    numResBlocks: 1,
    attentionResolutions: [],
    channelMult: [1, 2],
    numHeads: 1,
    normGroups: 4,
    ...unet,
  },
  firstStage: { kind: 'identity' },
  diffusion: { timesteps: 20 },
  imageSize: 8,
  ...extra,
});

async function measured(
  of: LatentDiffusionSpec,
  options: Parameters<typeof measureThroughput>[2] = {},
): Promise<ThroughputEntry[]> {
  manualSeed(1);
  const model = buildLatentDiffusion(of);
  const found: ThroughputEntry[] = [];
  const cases = [
    { sampler: 'ddim', steps: 4, batch: 2, sampling: { method: 'ddim', steps: 4 } },
    { sampler: 'ddpm', steps: 20, batch: 3, sampling: { method: 'ddpm' } },
  ] as const;
  try {
    for await (const entry of measureThroughput(model, cases, options)) found.push(entry);
  } finally {
    model.dispose();
  }
  return found;
}

describe('a measurement', () => {
  test('has a time for each repeat, and the memory of the device', async () => {
    const steps: [number, number][] = [];
    const found = await measured(spec(), {
      repeats: 3,
      onStep: ({ repeat, step }) => steps.push([repeat, step]),
    });
    expect(found.map(({ sampler, steps: n, batch }) => [sampler, n, batch])).toEqual([
      ['ddim', 4, 2],
      ['ddpm', 20, 3],
    ]);
    for (const { seconds, samplesPerSecond, batch, peakBytes, residentBytes } of found) {
      expect(seconds).toHaveLength(3);
      const [, middle] = [...seconds].sort((a, b) => a - b);
      expect(samplesPerSecond).toBeCloseTo(batch / middle, 6);
      expect(peakBytes).toBeGreaterThan(4 * 1000);
      expect(residentBytes! > peakBytes).toBe(true);
    }
    // two steps of warming up, then every step of every repeat
    expect(steps.filter(([repeat]) => repeat === 0)).toHaveLength(4);
    expect(steps.filter(([repeat]) => repeat > 0)).toHaveLength(3 * 4 + 3 * 20);
  });

  test.each<[string, LatentDiffusionSpec, number]>([
    [
      'maps',
      spec({ conditioner: { kind: 'identity' }, conditioningKey: 'concat' }, { inChannels: 5 }),
      1,
    ],
    [
      'classes to attend to',
      spec(
        { conditioner: { kind: 'class', embedDim: 4, nClasses: 3 }, conditioningKey: 'crossattn' },
        { useSpatialTransformer: true, contextDim: 4 },
      ),
      2,
    ],
    [
      'classes',
      spec({ conditioner: { kind: 'identity' }, conditioningKey: 'adm' }, { numClasses: 3 }),
      1,
    ],
  ])('needs no condition of a model of %s', async (_, of, guidance) => {
    expect(await measured(of, { repeats: 1, guidance })).toHaveLength(2);
  });

  test('records the work of the network unless told', async () => {
    const sample = vi.spyOn(LatentDiffusion.prototype, 'sample');
    await measured(spec(), { repeats: 1 });
    await measured(spec(), { repeats: 1, capture: false });
    const given = sample.mock.calls.map(([{ capture = true }]) => capture);
    sample.mockRestore();
    expect(given).toEqual([true, true, true, true, false, false, false, false]);
  });

  test('ends with its signal', async () => {
    const controller = new AbortController();
    const ended = measured(spec(), { signal: controller.signal, onStep: () => controller.abort() });
    await expect(ended).rejects.toThrow(/abort/);
  });
});

describe('a file', () => {
  test('is read as it was written', async () => {
    const written = { ...measuredThroughput(), machine: describeMachine(defaultDevice()) };
    await writeThroughput(file('t.json'), written);
    expect(await readThroughput(file('t.json'))).toEqual(written);
  });

  test.each<[string, object, RegExp]>([
    ['another kind', { kind: 'x' }, /kind must be "emulsion throughput"\. Got "x"/],
    ['no entries', { entries: undefined }, /entries is missing/],
    ['a misspelt entry', { entries: [{ sampelr: 'ddim' }] }, /entry 0: unknown option 'sampelr'/],
    [
      'no speed',
      { entries: [{ ...measuredThroughput().entries[0], samplesPerSecond: 0 }] },
      /samplesPerSecond/,
    ],
    ['a machine of a number', { machine: 3 }, /machine must be/],
  ])('is refused with %s', async (_, change, message) => {
    const value: unknown = { ...measuredThroughput(), ...change };
    expect(() => checkThroughput(value)).toThrow(message);
    writeFileSync(file('bad.json'), JSON.stringify(value));
    await expect(readThroughput(file('bad.json'))).rejects.toThrow(/bad\.json: throughput/);
  });

  test('is plotted against quality, or against steps without one', () => {
    const judged = measuredThroughput();
    const plot = throughputPlot([{ name: 'a', file: judged }], ['red']);
    expect([plot.x.scale, plot.y.label]).toEqual(['log', 'FID']);
    expect(plot.curves).toMatchObject([
      {
        points: [
          [4, 20],
          [0.8, 4],
        ],
        labels: ['10', '50'],
        colour: 'red',
      },
    ]);
    const entries = judged.entries.map(({ quality: _quality, ...entry }) => entry);
    const bare = throughputPlot([{ name: 'a', file: { ...judged, entries } }], ['red']);
    expect(bare.y.label).toBe('sampling steps');
    expect(bare.curves[0].points).toEqual([
      [4, 10],
      [0.8, 50],
    ]);
  });
});

describe('the command', () => {
  const once = (...args: string[]) =>
    emulsion(['throughput', '--model', file('model'), '-o', file('out.json'), ...args]);
  const run = (...args: string[]) => once('--force', ...args);

  beforeAll(async () => {
    manualSeed(1);
    const model = buildLatentDiffusion(spec({ diffusion: { timesteps: 1000 } }));
    await saveLatentDiffusion(file('model'), model);
    model.dispose();
  });

  test('measures, judges and plots', async () => {
    const { status, stdout, stderr } = await run(
      ...['--sampler', 'ddim', 'dpm++', '--steps', '2', '4', '--batch', '1', '2', '--repeats', '1'],
      ...[
        '--quality',
        '2=9.5',
        'dpm++:2=7',
        '--quality-name',
        'FID',
        '--plot',
        file('new/out.svg'),
        '--no-capture',
      ],
    );
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout.split('\n')).toHaveLength(10);
    expect(existsSync(file('new/out.svg'))).toBe(true);
    const { entries, ...about } = await readThroughput(file('out.json'));
    expect(about).toMatchObject({ model: 'model', size: [8, 8], capture: false });
    expect(about).toMatchObject({ complete: true, qualityName: 'FID' });
    expect(
      entries.map(({ sampler, steps, batch, quality }) => [sampler, steps, batch, quality]),
    ).toEqual(
      [1, 2].flatMap((batch) => [
        ['ddim', 2, batch, 9.5],
        ['ddim', 4, batch, undefined],
        ['dpm++', 2, batch, 7],
        ['dpm++', 4, batch, undefined],
      ]),
    );
  });

  test('tells by --json what it wrote', async () => {
    const { status, stdout } = await run('--steps', '2', '--repeats', '1', '--json');
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toEqual(await readThroughput(file('out.json')));
  });

  test('overwrites neither measurements nor a plot unless forced to', async () => {
    writeFileSync(file('taken.svg'), '');
    const [measurements, plot] = await Promise.all([
      once('--steps', '2'),
      once('--steps', '2', '-o', file('free.json'), '--plot', file('taken.svg')),
    ]);
    expect([measurements, plot].map(({ status }) => status)).toEqual([1, 1]);
    expect(measurements.stderr).toContain('out.json: exists already; --force overwrites it.');
    expect(plot.stderr).toContain('taken.svg: exists already');
    expect(existsSync(file('free.json'))).toBe(false);
  });

  test('keeps what is measured until Ctrl-C', async () => {
    const output = file('stopped.json');
    const { status, stdout } = await emulsion(
      [
        'throughput',
        '--model',
        file('model'),
        '--steps',
        '2',
        '1000',
        '--repeats',
        '5',
        '-o',
        output,
      ],
      { signal: 'SIGINT', at: output },
    );
    expect(status).toBe(130);
    expect(stdout).toContain('Interrupted: 1 of 2 measurements are in ');
    const { complete, entries } = await readThroughput(output);
    expect([complete, entries.length, entries[0].steps]).toEqual([false, 1, 2]);
  });

  test('refuses what makes no sense', async () => {
    const [steps, guidance, quality] = await Promise.all([
      run('--steps', '2000'),
      run('--guidance', '2'),
      run('--quality', 'ddmi:2=1'),
    ]);
    expect([steps, guidance, quality].map(({ status }) => status)).toEqual([2, 2, 2]);
    expect(steps.stderr).toContain('trained with 1000 timesteps');
    expect(guidance.stderr).toContain('no condition that --guidance could strengthen');
    expect(quality.stderr).toContain('Expected STEPS=VALUE or SAMPLER:STEPS=VALUE');
  });
});
