// What loggers leave behind: JSONL without repeats, TensorBoard's records with the right checksums, lines
// and bars for people.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { afterAll, describe, expect, it } from 'vitest';
import { writeImage, zeros } from '../../lib/index.js';
import { JsonlLogger, ProgressLogger, TensorBoardLogger } from '../../lib/train/index.js';
import { readEvents } from './read_events.js';
import { train } from './run.js';

const root = mkdtempSync(join(tmpdir(), 'emulsion-loggers-'));
afterAll(() => rmSync(root, { recursive: true }));

describe('JSONL', () => {
  const path = join(root, 'metrics.jsonl');
  const lines = (): unknown[] =>
    readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as unknown);

  it('holds every measurement once, whatever happened between', async () => {
    const first = new JsonlLogger(path);
    await first.start({ name: 'run', step: 0, steps: 4 });
    for (const step of [1, 2, 3]) first.scalars(step, { loss: step / 2 });
    first.close();
    writeFileSync(path, '{"step":4,"lo', { flag: 'a' }); // killed while it wrote
    const second = new JsonlLogger(path);
    await second.start({ name: 'run', step: 2, steps: 4 });
    expect(lines()).toEqual([1, 2].map((step) => ({ step, loss: step / 2 })));
    second.scalars(3, { loss: NaN });
    second.text(3, 'a warning');
    second.close();
    expect(lines().slice(2)).toEqual([
      { step: 3, loss: null },
      { step: 3, text: 'a warning' },
    ]);
  });

  it('is always written: losses, norms, rates and images of both phases', async () => {
    const folder = join(root, 'run');
    await train(folder, { steps: 4, logEvery: 2 });
    await train(folder, { steps: 7, logEvery: 2, resume: true });
    const found = readFileSync(join(folder, 'metrics.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, number>);
    expect(found.map(({ step }) => step)).toEqual([2, 4, 6, 7]);
    expect(found.map(({ images }) => images)).toEqual([6, 12, 18, 21]);
    expect(Object.keys(found[0])).toEqual([
      'step',
      'train/generator_loss',
      'train/rec_loss',
      'train/kl_loss',
      'train/g_loss',
      'grad_norm/generator',
      'train/discriminator_loss',
      'train/logits_real',
      'train/logits_fake',
      'grad_norm/discriminator',
      'train/generator_loss_epoch',
      'train/rec_loss_epoch',
      'train/kl_loss_epoch',
      'train/g_loss_epoch',
      'train/discriminator_loss_epoch',
      'train/logits_real_epoch',
      'train/logits_fake_epoch',
      'lr/generator',
      'lr/discriminator',
      'global_step',
      'epoch',
      'skipped',
      'images',
      'images_per_second',
      'seconds',
    ]);
    expect(found[0]['lr/generator']).toBeCloseTo(0.01 * (3 / 8), 12);
  });
});

describe('TensorBoard', () => {
  it('gets every value in records of the right length and checksum', async () => {
    const folder = join(root, 'tensorboard');
    const png = join(root, 'picture.png');
    await writeImage(png, zeros([5, 7, 3]));
    const logger = new TensorBoardLogger(folder);
    await logger.start({ name: 'run', step: 300, steps: 400 });
    logger.scalars(301, { 'train/loss': 0.625, 'lr/generator': 1e-4 });
    logger.scalars(2 ** 40, { 'train/loss': -Infinity });
    await logger.pictures(302, { 'val/samples': png });
    logger.text(303, 'x'.repeat(200));
    logger.close();
    const [name] = readdirSync(folder);
    expect(name).toMatch(/^events\.out\.tfevents\.\d+\./);
    const events = readEvents(readFileSync(join(folder, name)));
    expect(events.map(({ wallTime: _, ...rest }) => rest)).toEqual([
      { step: 0, fileVersion: 'brain.Event:2' },
      { step: 301, sessionStatus: 1 },
      {
        step: 301,
        values: [
          { tag: 'train/loss', scalar: 0.625 },
          { tag: 'lr/generator', scalar: Math.fround(1e-4) },
        ],
      },
      { step: 2 ** 40, values: [{ tag: 'train/loss', scalar: -Infinity }] },
      {
        step: 302,
        values: [{ tag: 'val/samples', image: { height: 5, width: 7, png: readFileSync(png) } }],
      },
      { step: 303, values: [{ tag: 'text', plugin: 'text', text: 'x'.repeat(200) }] },
    ]);
    for (const { wallTime } of events) expect(wallTime).toBeGreaterThan(1.5e9);
  });

  it('follows a training', async () => {
    const folder = join(root, 'followed');
    const loggers = [new TensorBoardLogger(join(folder, 'tensorboard'))];
    await train(folder, { steps: 4, logEvery: 2, picturesEvery: 4, loggers });
    const [name] = readdirSync(join(folder, 'tensorboard'));
    const events = readEvents(readFileSync(join(folder, 'tensorboard', name)));
    expect(events.map(({ step }) => step)).toEqual([0, 1, 2, 4, 4, 4]);
    expect(events.at(-1)!.values![0].tag).toBe('train/reconstructions');
  });
});

describe('progress', () => {
  function spoken(isTTY: boolean) {
    let text = '';
    const write = (chunk: Buffer, _: string, done: () => void) => {
      text += chunk.toString();
      done();
    };
    const terminal = { columns: 100, cursorTo: () => true, moveCursor: () => true };
    const extra = isTTY ? { isTTY, ...terminal, clearLine: () => true } : {};
    const stream = Object.assign(new Writable({ write }), extra);
    let now = 0;
    const logger = new ProgressLogger({ stream, clock: () => now });
    return { logger, text: () => text, wait: (ms: number) => (now += ms) };
  }

  it('is a line every few seconds where there is no terminal', () => {
    const { logger, text, wait } = spoken(false);
    logger.start({ name: 'kl-f8', step: 0, steps: 5000 });
    for (let step = 1; step <= 5; ++step) {
      wait(2000);
      logger.step({ step, images: 12, loss: 0.5 });
    }
    logger.text(5, 'something to know');
    logger.close();
    expect(text().split('\n')).toEqual([
      'kl-f8 3/5000 | loss 0.5000 | 6.0 images/s | 2:46:34 left',
      'step 5: something to know',
      '',
    ]);
  });

  it('rounds the time left before it is told in hours', () => {
    const { logger, text, wait } = spoken(false);
    logger.start({ name: 'kl-f8', step: 0, steps: 2 });
    wait(3_599_600);
    logger.step({ step: 1, images: 12, loss: 0.5 });
    expect(text()).toContain('1:00:00 left');
  });

  it('says where it goes on', () => {
    const { logger, text } = spoken(false);
    logger.start({ name: 'kl-f8', step: 20, steps: 30 });
    expect(text()).toBe('kl-f8: going on after step 20\n');
  });

  it('is a bar on a terminal', () => {
    const { logger, text, wait } = spoken(true);
    logger.start({ name: 'kl-f8', step: 0, steps: 10 });
    wait(1000);
    logger.step({ step: 1, images: 12, loss: 0.25 });
    logger.close();
    expect(text()).toMatch(/kl-f8 .*1\/10 \| loss 0\.2500 \| 12 images\/s \| 00:09 left/);
  });
});
