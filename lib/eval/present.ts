// Scores as people read them: what they are called, and with how many digits.
import type { MeanStd } from '../metrics/mean_std.js';
import { scoreNames, type ScoreName, type Scores } from './scores.js';

const titles: Record<ScoreName, string> = {
  fid: 'FID',
  kid: 'KID',
  inceptionScore: 'Inception score',
  precision: 'precision',
  recall: 'recall',
  density: 'density',
  coverage: 'coverage',
  psnr: 'PSNR, dB',
  ssim: 'SSIM',
  lpips: 'LPIPS',
};

/** A score as a table shows it. Where pictures are equal, PSNR has a mean without end and no deviation. */
export function formatScore(name: ScoreName, score: number | MeanStd): string {
  const digits = name === 'kid' ? 5 : name === 'fid' || name === 'psnr' ? 2 : 4;
  const text = (value: number) => (value === Infinity ? '∞' : value.toFixed(digits));
  if (typeof score === 'number') return text(score);
  const { mean, std } = score;
  return Number.isNaN(std) ? text(mean) : `${text(mean)} ± ${text(std)}`;
}

/** The scores that any of the results has, in their order, with their titles. */
export function presentScores(results: readonly Scores[]): (readonly [ScoreName, string])[] {
  const names = Object.keys(scoreNames) as ScoreName[];
  return names
    .filter((name) => results.some((scores) => scores[name] !== undefined))
    .map((name) => [name, titles[name]] as const);
}
