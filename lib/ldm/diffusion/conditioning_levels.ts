/** Noise on the conditioning itself, where a model has such levels (`numTimestepsCond`). */

/** The level at each t: `count` levels over the first timesteps, evenly spread, then the noisiest. */
export function conditioningLevels(timesteps: number, count: number): BigInt64Array {
  const last = timesteps - 1;
  const evenly = (i: number) => roundHalfToEven((i * last) / (count - 1));
  return BigInt64Array.from({ length: timesteps }, (_, i) => BigInt(i < count ? evenly(i) : last));
}

function roundHalfToEven(x: number): number {
  const below = Math.floor(x);
  return x - below === 0.5 ? below + (below % 2) : Math.round(x);
}
