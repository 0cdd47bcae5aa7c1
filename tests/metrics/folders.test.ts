import { mkdirSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import {
  compareFolders,
  comparePictures,
  FileError,
  formatMeanStd,
  full,
  Lpips,
  noise,
  psnr,
  readImage,
  ssim,
  summarize,
  tidy,
  writeImage,
  type Tensor,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';

const inFolder = temporaryFolder();

async function makeFolder(name: string, pictures: Record<string, Tensor>): Promise<string> {
  mkdirSync(inFolder(name), { recursive: true });
  for (const [file, image] of Object.entries(pictures)) {
    await writeImage(inFolder(`${name}/${file}`), image);
    image.dispose(); // what is left to be collected may go while a test counts
  }
  return inFolder(name);
}

const picture = (seed: number, H = 20, W = 24): Tensor =>
  tidy(() => noise([H, W, 3], { seed }).mul(0.4).clamp(-1, 1));

const reference = await makeFolder('reference', {
  'b.png': picture(2),
  'a.png': picture(1),
  'c.png': picture(3),
});
writeFileSync(inFolder('reference/notes.txt'), 'no picture');
mkdirSync(inFolder('reference/below.png'));

test('pictures of the same name are measured, whatever their extension', async () => {
  const folder = await makeFolder('same', {
    'a.webp': picture(1),
    'b.png': full([20, 24, 3], 0),
    'c.jpg': picture(3),
  });
  const seen: [number, number][] = [];
  const result = await compareFolders(reference, folder, {
    onProgress: (done, total) => seen.push([done, total]),
  });
  expect(result.pictures.map(({ name }) => name)).toEqual(['a', 'b', 'c']);
  expect(seen).toEqual([
    [1, 3],
    [2, 3],
    [3, 3],
  ]);
  await tidy(async () => {
    const [x, y] = [await readImage(`${reference}/b.png`), await readImage(`${folder}/b.png`)];
    const batch = (z: Tensor) => z.reshape([1, 20, 24, 3]);
    expect(result.pictures[1]).toEqual({
      name: 'b',
      psnr: await psnr(batch(x), batch(y)).item(),
      ssim: await ssim(batch(x), batch(y)).item(),
    });
  });
  expect(result.summary).toEqual(summarize(result.pictures));
  expect(result.unmatched).toEqual({ reference: [], folder: [] });
});

test('LPIPS is measured with its network, and nothing stays in memory', async () => {
  const lpips = new Lpips({ widths: [4, 4, 8, 8, 8] });
  const folder = await makeFolder('lpips', { 'a.png': picture(1), 'b.png': picture(5) });
  const { memoryStats } = lpips.parameters()[0].device;
  const stats = () => memoryStats.call(lpips.parameters()[0].device).tensors;
  const before = stats();
  const result = await compareFolders(reference, folder, { lpips, partial: true });
  expect(stats()).toBe(before);
  expect(result.pictures[0]).toMatchObject({ psnr: Infinity, lpips: 0 });
  expect(result.pictures[1].lpips).not.toBe(0);
  expect(result.summary.lpips!.mean).toBeCloseTo(result.pictures[1].lpips! / 2, 6);
});

test('missing partners are named, or left out when asked', async () => {
  const folder = await makeFolder('missing', { 'a.png': picture(1), 'd.png': picture(4) });
  await expect(compareFolders(reference, folder)).rejects.toThrow(
    /missing: has no partner for b\.png, c\.png of .*reference/,
  );
  const fewer = await makeFolder('fewer', { 'a.png': picture(1) });
  await expect(compareFolders(fewer, folder)).rejects.toThrow(/fewer: has no partner for d\.png/);
  const { pictures, unmatched } = await compareFolders(reference, folder, { partial: true });
  expect(pictures.map(({ name }) => name)).toEqual(['a']);
  expect(unmatched).toEqual({ reference: ['b.png', 'c.png'], folder: ['d.png'] });
  const none = await makeFolder('none', {});
  await expect(compareFolders(reference, none, { partial: true })).rejects.toThrow(
    /none: shares no picture/,
  );
});

test('sizes that differ, names that clash and files that are no pictures are named', async () => {
  const sizes = await makeFolder('sizes', { 'a.png': picture(1, 21) });
  const compared = compareFolders(reference, sizes, { partial: true });
  await expect(compared).rejects.toThrow(
    /sizes.a\.png: is 24 x 21 pixels, but .*a\.png is 24 x 20/,
  );
  const twice = await makeFolder('twice', { 'a.png': picture(1), 'a.jpg': picture(1) });
  await expect(compareFolders(reference, twice)).rejects.toThrow(/a\.jpg and a\.png/);
  const damaged = await makeFolder('damaged', {});
  writeFileSync(`${damaged}/a.png`, 'not a picture');
  const broken = compareFolders(reference, damaged, { partial: true });
  await expect(broken).rejects.toThrow(FileError);
  await expect(compareFolders(inFolder('nowhere'), reference)).rejects.toThrow(
    /nowhere: cannot be read: there is no such/,
  );
});

test('an abort stops between pairs', async () => {
  const controller = new AbortController();
  const stopped = compareFolders(reference, reference, {
    signal: controller.signal,
    onProgress: () => controller.abort(new Error('enough')),
  });
  await expect(stopped).rejects.toThrow('enough');
});

test('mean and deviation as the paper prints them', () => {
  const { psnr, ssim, lpips } = summarize([
    { psnr: 20, ssim: 0.5 },
    { psnr: 30, ssim: 0.7 },
  ]);
  expect(formatMeanStd(psnr)).toBe('25.00 ± 5.00');
  expect(formatMeanStd(ssim)).toBe('0.60 ± 0.10');
  expect(lpips).toBeUndefined();
  expect(summarize([{ psnr: Infinity, ssim: 1 }]).psnr).toEqual({ mean: Infinity, std: NaN });
});

test('a single pair', async () => {
  const same = await comparePictures(`${reference}/a.png`, `${reference}/a.png`);
  expect(same.psnr).toBe(Infinity);
  expect(same.ssim).toBeCloseTo(1, 6);
  expect('lpips' in same).toBe(false);
});
