import { describe, expect, test } from 'vitest';
import { LossHealth, type HealthOptions, type LoggedLosses } from '../../../lib/index.js';

const well = {
  total_loss: 0.4,
  disc_loss: 0.8,
  disc_factor: 1,
  logits_real: 0.3,
  logits_fake: -0.2,
  d_weight: 0.7,
  perplexity: 150,
  cluster_usage: 220,
  latent_mean: 0.1,
  latent_std: 1.2,
};

/** All warnings that entries bring about. */
function watch(entries: readonly LoggedLosses[], options: HealthOptions = {}): string[] {
  const health = new LossHealth({ window: 5, ...options });
  return entries.flatMap((entry) => health.observe(entry));
}
const steady = (change: LoggedLosses, count = 5) =>
  Array.from({ length: count }, () => ({ ...well, ...change }));
const codes = { config: { nClasses: 256 } };

test('a healthy training is left alone', () => {
  expect(watch(steady({}, 20), codes)).toEqual([]);
});

describe('warns of', () => {
  test.each([
    [{ disc_loss: 0.01, logits_real: 4, logits_fake: -5 }, /discriminator wins.*logits_real 4/s],
    [{ disc_loss: 1.0001, logits_real: 0, logits_fake: 0 }, /discriminator is dead.*guessing/s],
    [{ disc_loss: 0.5, disc_factor: 0.5, logits_real: 0, logits_fake: 0 }, /discriminator is dead/],
    [{ perplexity: 3.2, cluster_usage: 5 }, /codebook has collapsed.*5 codes.*3\.2.*of 256/s],
    [{ latent_std: 0.02 }, /latents are far from unit scale.*0\.02.*scale_by_std/s],
    [{ latent_mean: 30, latent_std: 9 }, /latents are far from unit scale: mean 30/],
    [{ d_weight: 10000 }, /d_weight stands at its limit 10000/],
  ])('%o', (change, expected) => {
    const warnings = watch(steady(change), codes);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(expected);
  });

  test('a vanilla discriminator that guesses, whose loss is ln 2', () => {
    const entries = steady({ disc_loss: 0.6931, logits_real: 0.001, logits_fake: 0 });
    expect(watch(entries, { config: { discLoss: 'vanilla' } })).toHaveLength(1);
    expect(watch(entries, { config: { discLoss: 'hinge' } })).toEqual([]);
  });

  test('values that are not finite, at once and by name', () => {
    const [warning] = watch([{ ...well, g_loss: NaN, total_loss: Infinity }]);
    expect(warning).toMatch(/total_loss, g_loss are not finite \(Infinity, NaN\).*learning rate/);
  });
});

describe('waits', () => {
  test('until a whole window agrees', () => {
    const wins = { disc_loss: 0.01, logits_real: 4, logits_fake: -5 };
    expect(watch(steady(wins, 4))).toEqual([]);
    expect(watch([...steady(wins, 4), well, ...steady(wins, 4)])).toEqual([]);
  });

  test('for the discriminator to start', () => {
    const idle = { disc_factor: 0, disc_loss: 0, logits_real: 3, logits_fake: -3, d_weight: 1e4 };
    expect(watch(steady(idle, 20))).toEqual([]);
  });

  test('and says nothing twice, unless it passed in between', () => {
    const bad = { latent_std: 50 };
    const entries = [...steady(bad, 9), ...steady({ latent_std: 1 }, 9), ...steady(bad, 9)];
    expect(watch(entries)).toHaveLength(2);
  });
});

test('a small batch cannot use a large codebook, and is not blamed', () => {
  const entries = steady({ perplexity: 60, cluster_usage: 64 });
  const config = { nClasses: 16384 };
  expect(watch(entries, { config })).toHaveLength(1);
  expect(watch(entries, { config, vectorsPerBatch: 64 })).toEqual([]);
});

test('the limit of d_weight moves with disc_weight', () => {
  const config = { discWeight: 0.5 };
  expect(watch(steady({ d_weight: 5000 }), { config })).toHaveLength(1);
  expect(watch(steady({ d_weight: 5000 }))).toEqual([]);
});

test('what is not logged is not judged', () => {
  expect(
    watch(
      Array.from({ length: 9 }, () => ({ total_loss: 1 })),
      codes,
    ),
  ).toEqual([]);
  expect(() => new LossHealth({ window: 0 })).toThrow(/at least 1/);
});
