// Noise schedules against the numbers that the original's formulas give.
import { describe, expect, it } from 'vitest';
import { ddimSchedule, ddimTimesteps, makeBetas, NoiseSchedule } from '../../lib/index.js';

const published = { betaSchedule: 'linear', linearStart: 0.0015, linearEnd: 0.0195 } as const;

describe('NoiseSchedule', () => {
  it.each([
    [0.0001, 0.02, 0.0057420711, 7.334124596e-4, 0.004330479],
    [0.0015, 0.0195, 0.007963175, 1.423039752e-4, 0.004539414],
    [0.00085, 0.012, 0.0048149541, 4.660098513e-3, 0.0033490562],
  ])('linear from %d to %d', (linearStart, linearEnd, beta, alphaBar, weight) => {
    const schedule = new NoiseSchedule({ linearStart, linearEnd });
    expect(schedule.exact.betas[500]).toBeCloseTo(beta, 10);
    expect(schedule.exact.alphasCumprod[999] / alphaBar).toBeCloseTo(1, 8);
    expect(schedule.lvlbWeights.eps[500] / weight).toBeCloseTo(1, 5);
    expect(schedule.lvlbWeights.eps[0]).toBe(schedule.lvlbWeights.eps[1]);
  });

  it('has the other schedules', () => {
    const cosine = makeBetas({ betaSchedule: 'cosine' });
    expect(cosine[0]).toBeCloseTo(4.128422482e-5, 13);
    expect(cosine[999]).toBe(0.999);
    expect(makeBetas({ betaSchedule: 'sqrt_linear' })[500]).toBeCloseTo(0.01005996, 9);
    expect(makeBetas({ betaSchedule: 'sqrt' })[0]).toBeCloseTo(0.01, 12);
  });

  it('derives the posterior', () => {
    const schedule = new NoiseSchedule({ linearStart: 0.00085, linearEnd: 0.012 });
    expect(schedule.posteriorMeanCoef1[0]).toBe(1);
    expect(schedule.posteriorLogVarianceClipped[0]).toBeCloseTo(-46.0517019, 5);
    expect(schedule.posteriorVariance[500]).toBeCloseTo(0.00480605857, 9);
    expect(schedule.sqrtRecipm1AlphasCumprod[999]).toBeCloseTo(14.6146412, 5);
  });

  it('takes given betas and refuses an unknown name or no steps', () => {
    expect(new NoiseSchedule({ givenBetas: [0.1, 0.2] }).alphasCumprod[1]).toBeCloseTo(0.72, 6);
    expect(() => makeBetas({ betaSchedule: 'quadratic' as 'linear' })).toThrow(
      /'quadratic'.*Known/,
    );
    expect(() => makeBetas({ timesteps: 0 })).toThrow(/timesteps must be a positive integer/);
  });
});

describe('DDIM steps', () => {
  it('are shifted by one, and may be more than asked for', () => {
    expect(ddimTimesteps('uniform', 50, 1000).slice(0, 3)).toEqual([1, 21, 41]);
    expect(ddimTimesteps('uniform', 400, 1000)).toHaveLength(500);
    const quad = ddimTimesteps('quad', 50, 1000);
    expect(quad.slice(0, 8)).toEqual([1, 1, 2, 3, 6, 9, 12, 17]);
    expect(quad.at(-1)).toBe(801);
  });

  it('stay inside the tables for every number of steps', () => {
    const schedule = new NoiseSchedule(published);
    for (const steps of [1, 3, 9, 111, 300, 333, 999, 1000]) {
      const table = ddimSchedule(schedule, { steps, eta: 1 });
      expect(Math.max(...table.timesteps)).toBeLessThanOrEqual(999);
      expect(table.sigmas.every(Number.isFinite)).toBe(true);
    }
  });

  it('have the published coefficients', () => {
    const { alphas, alphasPrev, sigmas } = ddimSchedule(new NoiseSchedule(published), {
      steps: 50,
      eta: 1,
    });
    expect([alphas[0], alphasPrev[0], sigmas[0]]).toEqual([
      expect.closeTo(0.996994436, 8),
      expect.closeTo(0.99849999, 8),
      expect.closeTo(0.027432048, 8),
    ]);
    expect(sigmas[49]).toBeCloseTo(0.561138321, 7);
  });

  it('refuses counts outside 1..T', () => {
    expect(() => ddimTimesteps('uniform', 0, 1000)).toThrow(
      /steps must be an integer in 1\.\.1000/,
    );
    expect(() => ddimTimesteps('uniform', 1001, 1000)).toThrow(/Got 1001/);
  });
});
