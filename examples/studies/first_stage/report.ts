// The study's page: the table, what it shows, and where the pictures are.
import type { MeanStd } from '../../../lib/index.js';
import { table } from '../tables.js';
import type { Quality } from './measure.js';
import type { Entry } from './zoo.js';

export interface Row {
  entry: Entry;
  parameters: number;
  quality: Quality;
}

export interface AdversarialRow {
  name: string;
  quality: Quality;
}

const spread = ({ mean, std }: MeanStd, digits: number): string =>
  `${mean.toFixed(digits)} ± ${std.toFixed(digits)}`;

/** Numbers of a latent over those of its picture. */
const share = ({ f, channels }: Entry): string => `1/${((3 * f * f) / channels).toFixed(1)}`;

export function zooTable(rows: readonly Row[]): string {
  return table(
    [
      'f',
      'regulariser',
      '\\|Z\\|',
      'c',
      'size',
      'parameters',
      'PSNR',
      'SSIM',
      'R-FID-like',
      'codes used',
      'perplexity',
    ],
    rows.map(({ entry, parameters, quality }) => [
      String(entry.f),
      entry.regularizer,
      String(entry.codes ?? '–'),
      String(entry.channels),
      share(entry),
      parameters.toLocaleString('en-US'),
      spread(quality.psnr, 2),
      spread(quality.ssim, 3),
      quality.rfid.toFixed(2),
      String(quality.codes?.used ?? '–'),
      quality.codes?.perplexity.toFixed(0) ?? '–',
    ]),
  );
}

export function adversarialTable(rows: readonly AdversarialRow[]): string {
  return table(
    ['training', 'PSNR', 'SSIM', 'R-FID-like', 'sharpness'],
    rows.map(({ name, quality }) => [
      name,
      spread(quality.psnr, 2),
      spread(quality.ssim, 3),
      quality.rfid.toFixed(2),
      quality.sharpness.toFixed(3),
    ]),
  );
}

/** KL and VQ at f = 4 after a longer training. */
export function longerTable(rows: readonly Row[]): string {
  return table(
    ['trained longer', 'PSNR', 'SSIM', 'R-FID-like', 'codes used', 'perplexity'],
    rows.map(({ entry, quality }) => [
      entry.name,
      spread(quality.psnr, 2),
      spread(quality.ssim, 3),
      quality.rfid.toFixed(2),
      String(quality.codes?.used ?? '–'),
      quality.codes?.perplexity.toFixed(0) ?? '–',
    ]),
  );
}

/** Where the trend of the paper shows in the rows, and where it does not. */
export function trend(rows: readonly Row[]): string[] {
  const psnrOf = (name: string) => rows.find(({ entry }) => entry.name === name)?.quality.psnr.mean;
  const falls = (['KL', 'VQ'] as const).map((regularizer) => {
    const own = rows.filter(({ entry }) => entry.regularizer === regularizer);
    const breaks = own.slice(1).flatMap(({ entry, quality }, i) => {
      const better = quality.psnr.mean - own[i].quality.psnr.mean;
      return better > 0 ? [`${own[i].entry.name} to ${entry.name} (+${better.toFixed(2)} dB)`] : [];
    });
    return breaks.length === 0
      ? `${regularizer}: quality falls with every step of f.`
      : `${regularizer}: quality falls with f, except from ${breaks.join(', ')}.`;
  });
  const [kl, vq] = [psnrOf('kl-f4'), psnrOf('vq-f4')];
  return kl === undefined || vq === undefined
    ? falls
    : [...falls, `At f = 4 KL and VQ differ by ${Math.abs(kl - vq).toFixed(2)} dB.`];
}
