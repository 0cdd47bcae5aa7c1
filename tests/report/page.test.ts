// Reports as pages: what is in them, what bounds them, and what a browser makes of them.
import { copyFileSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { chromium as browsers, type Browser, type Page } from 'playwright-core';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeReport, saveEvaluation } from '../../lib/index.js';
import { openSources } from '../../lib/report/sources.js';
import { emulsion } from '../cli/emulsion.js';
import { temporaryFolder } from '../io/temporary.js';
import { chromium, howToInstall, mustHaveChromium } from './chromium.js';
import { evaluation, hostile, measuredThroughput, writeRun, writeSamples } from './fixtures.js';

const file = temporaryFolder();
const named = `run ${hostile.replaceAll('/', '∕')}`;
let paths: string[];

beforeAll(async () => {
  await writeRun(file(named), 600);
  await writeRun(file('second'), 40, 2);
  await writeSamples(file('samples'));
  writeFileSync(file('throughput.json'), JSON.stringify(measuredThroughput()));
  for (const [name, count] of [
    ['eval', 50],
    ['other-eval', 60],
  ] as const)
    await saveEvaluation(file(`${name}.json`), evaluation(count));
  paths = [named, 'second', 'samples', 'throughput.json', 'eval.json', 'other-eval.json'].map(file);
});

describe('a report', () => {
  test('shows what is there, as text', async () => {
    const page = await makeReport(paths, { note: hostile });
    const [, body] = page.split('</style>');
    expect(body.match(/<script/g)).toHaveLength(1);
    expect(body).not.toContain('alert("x")');
    for (const title of ['Runs', 'Training', 'Evaluation', 'Pictures', 'Samples', 'Throughput'])
      expect(page).toContain(`>${title}</a`);
    expect(page).toContain('FID ↓');
    expect(page).toContain('0.01000 ± 0.00200');
    expect(page).toContain('∞');
    expect(page).toContain('few samples &lt;script');
    expect(page).toContain('not measured alike');
    expect(page).toContain('samples.count');
    expect(page).toMatch(/1 lines? (is|are) no measurements?/);
    expect(page).toContain('damaged of second, val, step 10: left out, it cannot be read.');
    // the constant learning rate and the null gradients have no chart; the hostile name has one
    expect(page).not.toContain('>lr/diffusion<');
    expect(page).toContain('train/&lt;script&gt;');
    expect(page).toContain('what differs');
    expect(page.match(/(src|href)="(?!data:|#)/g)).toBeNull();
  });

  test('shows samples once, without grids and drawn layouts', async () => {
    await writeSamples(file('layouts'));
    for (const name of ['grid-000000.png', '000001_boxes.png'])
      copyFileSync(file('layouts/000000.png'), file(`layouts/${name}`));
    const [{ samples }] = await openSources([file('layouts')]);
    expect(samples!.files).toEqual([0, 1, 2].map((n) => file(`layouts/00000${n}.png`)));
  });

  test('of one run, of measurements alone, and of nothing', async () => {
    expect(await makeReport([file('second')])).toContain('<title>second</title>');
    const alone = await makeReport([`${file('second')}/metrics.jsonl`], { title: 'Alone' });
    expect(alone).toContain('<h1>Alone</h1>');
    expect(alone).not.toContain('<img');
    // numbers of another program, whatever they are called
    writeFileSync(
      file('other.jsonl'),
      '{"step":1,"a":1,"val/b_ema":2}\n{"step":2,"a":3,"val/b_ema":1}\n',
    );
    const other = await makeReport([file('other.jsonl')]);
    expect(other.match(/<h3>\s*[^<]*/g)?.map((each) => each.slice(4).trim())).toEqual([
      'val/b_ema',
      'a',
    ]);
    mkdirSync(file('empty'));
    await expect(makeReport([file('empty')])).rejects.toThrow(
      /nothing to report on.*metrics\.jsonl/,
    );
    await expect(makeReport([file('missing')])).rejects.toThrow(/missing: cannot be read/);
    writeFileSync(file('other.json'), '{"a": 1}');
    await expect(makeReport([file('other.json')])).rejects.toThrow(/no result of `emulsion eval`/);
    writeFileSync(file('bad.json'), JSON.stringify({ ...measuredThroughput(), version: 2 }));
    await expect(makeReport([file('bad.json')])).rejects.toThrow(/version must be 1\. Got 2/);
  });

  test('holds no more pictures than fit', async () => {
    const noise = { type: 'gaussian', mean: 128, sigma: 60 } as const;
    mkdirSync(file('large/images/val'), { recursive: true });
    writeFileSync(file('large/metrics.jsonl'), '{"step":1,"a":1}\n');
    await sharp({ create: { width: 1400, height: 700, channels: 3, background: '#888', noise } })
      .png({ compressionLevel: 0 })
      .toFile(file('large/images/val/samples-00000001.png'));
    const small = await makeReport([file('large')]);
    expect(small).toMatch(/<img[^>]*src="data:image\/webp;[^>]*width="1200"/);
    expect(small.length).toBeLessThan(
      statSync(file('large/images/val/samples-00000001.png')).size / 4,
    );
    const full = await makeReport([file('large')], { pictureBytes: 1000 });
    expect(full).toContain('the page has no room left for pictures');
  });
});

test('the command writes a page, and says what is wrong', async () => {
  const [good, told, bad] = await Promise.all([
    emulsion(['report', ...paths, '-o', file('page.html'), '--title', 'All']),
    emulsion(['report', file('second'), '-o', file('told.html'), '--json']),
    emulsion(['report', file('second'), '-o', file('page.pdf')]),
  ]);
  expect([good.status, good.stderr]).toEqual([0, '']);
  expect(good.stdout).toMatch(/page\.html: \d+ KiB/);
  const { size } = statSync(file('told.html'));
  expect(JSON.parse(told.stdout)).toEqual({ file: file('told.html'), bytes: size });
  expect(bad.status).toBe(2);
  expect(bad.stderr).toContain('Expected a file .html');
  const again = ['report', file('second'), '-o', file('page.html')];
  const kept = await emulsion(again);
  expect([kept.status, kept.stderr]).toEqual([
    1,
    `emulsion: ${file('page.html')}: exists already; --force overwrites it.\n`,
  ]);
  expect((await emulsion([...again, '--force', '--quiet'])).status).toBe(0);
});

test.runIf(!chromium)('a browser is there', () => {
  console.warn(howToInstall);
  expect(mustHaveChromium, howToInstall).toBe(false);
});

describe.skipIf(!chromium)('in a browser the page', () => {
  let browser: Browser;
  let page: Page;
  const told: string[] = [];
  const requested: string[] = [];

  beforeAll(async () => {
    writeFileSync(file('seen.html'), await makeReport(paths, { title: 'Runs side by side' }));
    // Continuous integration is root in a container, where Chromium's sandbox cannot be.
    const args = ['--no-sandbox', '--disable-dev-shm-usage'];
    browser = await browsers.launch({ executablePath: chromium!, args });
    page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    page.on('console', (message) => told.push(message.text()));
    page.on('pageerror', (error) => told.push(error.message));
    page.on('dialog', (dialog) => {
      told.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on('request', (request) => {
      if (!request.url().startsWith('data:')) requested.push(request.url());
    });
    await page.goto(`file://${file('seen.html')}`);
  });
  afterAll(() => browser?.close());

  /** Width and height of all that a selector finds. */
  const sizes = (selector: string) =>
    page.locator(selector).evaluateAll((found) =>
      found.map((each) => {
        const { width, height } = each.getBoundingClientRect();
        return [Math.round(width), Math.round(height)];
      }),
    );
  const overflow = () =>
    page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');

  test('asks for nothing and complains of nothing', async () => {
    expect(requested).toEqual([`file://${file('seen.html')}`]);
    expect(told).toEqual([]);
    expect(await page.title()).toBe('Runs side by side');
  });

  test('has tables, curves and pictures of some size', async () => {
    const cells = await page.locator('#runs tbody tr').allInnerTexts();
    expect(cells.map((text) => text.split(/\s*\t\s*/)[0])).toEqual([named, 'second']);
    expect(cells[1].split(/\s*\t\s*/).slice(1, 3)).toEqual(['400', '6,400']);
    const curves = await sizes('#training figure:first-child g[data-name] polyline');
    expect(curves).toHaveLength(2);
    for (const [width, height] of curves) {
      expect(width).toBeGreaterThan(20);
      expect(height).toBeGreaterThan(20);
    }
    for (const [width, height] of await sizes('td')) expect(width * height).toBeGreaterThan(0);
    const loaded = await page.evaluate<boolean[]>(
      '[...document.images].map((each) => each.naturalWidth > 0)',
    );
    expect(loaded.length).toBeGreaterThan(8);
    expect(loaded).not.toContain(false);
    const alt = page.locator('img:not([alt]), img[alt=""]');
    expect(await alt.count()).toBe(0);
  });

  test('says values under the pointer and by the keys', async () => {
    const svg = page.locator('#training svg').first();
    await svg.hover();
    const out = page.locator('#training output').first();
    const step = async () =>
      Number(/ at ([\d,]+) /.exec(await out.innerText())![1].replace(',', ''));
    expect(await out.innerText()).toMatch(/second 0\.\d+ at 400$/);
    const hovered = await step();
    expect(hovered).toBeGreaterThan(2000);
    expect(hovered).toBeLessThan(4000);
    await svg.focus();
    await page.keyboard.press('ArrowLeft');
    expect(await step()).toBeLessThan(hovered);
    await page.mouse.move(0, 0);
    await svg.blur();
    expect(await out.innerText()).toBe('');
    expect(told).toEqual([]);
  });

  test('is as wide as the screen, a phone’s too, by day and by night', async () => {
    expect(await overflow()).toBe(0);
    const colour = () => page.evaluate('getComputedStyle(document.body).backgroundColor');
    const day = await colour();
    await page.setViewportSize({ width: 360, height: 740 });
    await page.emulateMedia({ colorScheme: 'dark' });
    await page.evaluate(
      'for (const each of document.querySelectorAll("details")) each.open = true',
    );
    expect(await overflow()).toBe(0);
    expect(await colour()).not.toBe(day);
    const picture = await page.screenshot({ path: file('phone.png'), fullPage: true });
    expect((await sharp(picture).stats()).channels[0].stdev).toBeGreaterThan(5);
    const wide = (await sizes('figure.chart svg')).map(([width]) => width);
    expect(Math.min(...wide)).toBeGreaterThan(240);
  });
});
