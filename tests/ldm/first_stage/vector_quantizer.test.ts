// Vector quantisation beyond the golden numbers: the search, remapped indices, codebooks that learn by
// themselves, usage statistics.
import { describe, expect, it } from 'vitest';
import {
  autocast,
  CodeUsage,
  codePerplexity,
  defaultDevice,
  full,
  manualSeed,
  noGrad,
  randn,
  tensor,
  VectorQuantizer,
  type CodebookStep,
  type QuantizerOptions,
  type Tensor,
} from '../../../lib/index.js';

const numbers = (x: Tensor) => Array.from(x.dataSync(), Number);

/** A quantiser of one-dimensional codes, and latents [1, 1, n, 1]. */
function quantizer(codes: readonly number[], options?: QuantizerOptions): VectorQuantizer {
  const made = new VectorQuantizer(codes.length, 1, options);
  const weight = tensor(codes, { shape: [codes.length, 1] });
  made.embedding.loadStateDict({ weight }, { strict: false });
  if (options?.codebookEma) {
    made.embedding.loadStateDict({ embed_avg: weight }, { strict: false });
  }
  return made;
}
const latents = (...values: number[]) => tensor(values, { shape: [1, 1, values.length, 1] });

describe('VectorQuantizer', () => {
  it('refuses latents of another width', () => {
    expect(() => quantizer([0, 1]).forward(randn([1, 2, 2, 3]))).toThrow(
      /expected latents of shape \[N, h, w, 1\].*\[1, 2, 2, 3\]/,
    );
  });

  it('looks codes up, flat or as a map', () => {
    const vq = quantizer([10, 20, 30]);
    const indices = tensor([2, 0], { dtype: 'int64' });
    expect(vq.getCodebookEntry(indices).shape).toEqual([2, 1]);
    const map = vq.getCodebookEntry(indices, [1, 1, 2, 1]);
    expect(map.shape).toEqual([1, 1, 2, 1]);
    expect(numbers(map)).toEqual([30, 10]);
  });

  it('tells close codes apart where matrices are multiplied in 16 bits', () => {
    const vq = quantizer([1, 1.01]);
    const low = autocast('bfloat16', () => vq.nearest(latents(1.003, 1.006)));
    expect(numbers(low)).toEqual([0, 1]);
    expect(numbers(vq.nearest(latents(1, 1.0078125).to('bfloat16')))).toEqual([0, 1]);
  });

  it('compares vectors with codes without a table of their distances', () => {
    const [vectors, codes] = [64 * 64, 8192];
    const vq = new VectorQuantizer(codes, 4);
    const z = randn([1, 64, 64, 4]);
    const device = defaultDevice();
    const { liveBytes } = device.memoryStats();
    device.resetPeak();
    vq.forward(z);
    // A few maps of vectors; a table would have 128 MiB.
    expect(device.memoryStats().peakBytes - liveBytes).toBeLessThan((4 * vectors * codes) / 100);
  });

  it('gives the same values with toCodes, without a loss', () => {
    const vq = new VectorQuantizer(16, 3);
    const z = randn([2, 3, 4, 3]);
    expect(numbers(vq.toCodes(z))).toEqual(numbers(vq.forward(z).latents));
  });
});

describe('remap', () => {
  const codes = [0, 10, 20, 30, 40];
  const z = latents(31, 9, 19);
  const remap = [3, 1];

  it('counts among the used codes; unknown ones get an index of their own', () => {
    const vq = quantizer(codes, { remap, unknownIndex: 'extra' });
    const { indices } = vq.forward(z);
    expect(indices.shape).toEqual([3, 1]);
    expect(indices.dtype).toBe('int64');
    expect(numbers(indices)).toEqual([0, 1, 2]);
    expect(vq.indexCount).toBe(3);
    // the extra index has no code of its own: it becomes the first used one
    expect(numbers(vq.getCodebookEntry(indices, [1, 1, 3, 1]))).toEqual([30, 10, 30]);
  });

  it('gives unknown codes a chosen or a random index', () => {
    const chosen = quantizer(codes, { remap, unknownIndex: 1, saneIndexShape: true });
    const { indices } = chosen.forward(z);
    expect(indices.shape).toEqual([1, 1, 3]);
    expect(numbers(indices)).toEqual([0, 1, 1]);
    manualSeed(3);
    const random = quantizer(codes, { remap });
    const seen = new Set<number>();
    for (let i = 0; i < 20; i++) {
      const [first, second, unknown] = numbers(random.forward(z).indices);
      expect([first, second]).toEqual([0, 1]);
      seen.add(unknown);
    }
    expect([...seen].sort()).toEqual([0, 1]);
    expect(random.indexCount).toBe(2);
  });

  it('is saved under the original key', () => {
    const { used } = Object.fromEntries(quantizer(codes, { remap }).exportState());
    expect([used.dtype, used.shape]).toEqual(['int64', [2]]);
  });
});

describe('codebookEma', () => {
  const step: CodebookStep = { seed: 1, step: 0 };

  it('follows the mean of its vectors, with smoothed counts', () => {
    const [decay, eps] = [0.9, 1e-2];
    const vq = quantizer([0, 10, 50], { codebookEma: { decay, eps } });
    const { loss, latents: quantized } = vq.forward(latents(1, 2, 12), step);
    expect(numbers(quantized)).toEqual([0, 0, 10]); // the codes before they move
    expect(numbers(loss)[0]).toBeCloseTo(0.25 * ((1 + 4 + 4) / 3), 5);
    const size = [0.9 + 0.1 * 2, 0.9 + 0.1, 0.9];
    const total = size[0] + size[1] + size[2];
    const sums = [0.1 * 3, 0.9 * 10 + 0.1 * 12, 0.9 * 50];
    const expected = sums.map((sum, i) => sum / (((size[i] + eps) / (total + 3 * eps)) * total));
    const { weight, cluster_size, embed_avg } = Object.fromEntries(vq.embedding.stateDict());
    const pairs = [
      [weight, expected],
      [cluster_size, size],
      [embed_avg, sums],
    ] as const;
    for (const [actual, values] of pairs) {
      numbers(actual).forEach((value, i) => expect(value).toBeCloseTo(values[i], 4));
    }
  });

  it('draws the codes to the vectors', () => {
    const vq = quantizer([0, 1], { codebookEma: { decay: 0.5 } });
    for (let i = 0; i < 40; i++) vq.forward(latents(-3, -2, 7, 9), step);
    const [low, high] = numbers(vq.embedding.weight);
    expect(low).toBeCloseTo(-2.5, 3);
    expect(high).toBeCloseTo(8, 3);
  });

  it('trains no parameter, and its loss reaches the encoder only', () => {
    const vq = quantizer([0, 10], { codebookEma: {} });
    expect([...vq.namedParameters().keys()]).toEqual([]);
    expect([...vq.namedBuffers().keys()]).toEqual([
      'embedding.weight',
      'embedding.cluster_size',
      'embedding.embed_avg',
    ]);
    const z = latents(1, 12);
    z.requiresGrad = true;
    vq.forward(z, step).loss.backward();
    numbers(z.grad!).forEach((value, i) => expect(value).toBeCloseTo([0.25, 0.5][i], 6));
  });

  it('stands still outside of training', () => {
    const vq = quantizer([0, 10], { codebookEma: {} });
    const before = numbers(vq.embedding.weight);
    noGrad(() => vq.forward(latents(1, 2)));
    vq.toCodes(latents(1, 2));
    vq.eval().forward(latents(1, 2));
    expect(numbers(vq.embedding.weight)).toEqual(before);
    expect(() => vq.train().forward(latents(1, 2))).toThrow(/need to know the step.*noGrad/);
  });
});

describe('restartDeadCodes', () => {
  const options: QuantizerOptions = { restartDeadCodes: { every: 3 } };
  const codes = [0, 10, 500, 600, 700];
  const batch = (step: number) => latents(step + 0.5, 9 + step, step - 1);
  const run = (vq: VectorQuantizer, from: number, to: number, seed = 1) => {
    for (let step = from; step < to; step++) vq.forward(batch(step), { seed, step });
    return vq;
  };

  it('puts vectors of the batch in the place of codes that nothing used', () => {
    const vq = run(quantizer(codes, options), 0, 2);
    expect(numbers(vq.embedding.weight)).toEqual(codes);
    expect(numbers(vq.code_uses!)).toEqual([4, 2, 0, 0, 0]);
    run(vq, 2, 3);
    const [first, second, ...restarted] = numbers(vq.embedding.weight);
    expect([first, second]).toEqual([0, 10]);
    for (const code of restarted) expect(numbers(batch(2))).toContain(code);
    expect(numbers(vq.code_uses!)).toEqual([0, 0, 0, 0, 0]);
  });

  it('is a function of seed and step, also across a stop', () => {
    const whole = numbers(run(quantizer(codes, options), 0, 12).embedding.weight);
    expect(numbers(run(quantizer(codes, options), 0, 12).embedding.weight)).toEqual(whole);
    const stopped = run(quantizer(codes, options), 0, 7);
    const resumed = quantizer(codes, options);
    resumed.loadStateDict(stopped.stateDict());
    expect(numbers(run(resumed, 7, 12).embedding.weight)).toEqual(whole);
    const seeds = [1, 2, 3, 4].map((seed) =>
      numbers(run(quantizer(codes, options), 0, 3, seed).embedding.weight).join(),
    );
    expect(new Set(seeds).size).toBeGreaterThan(1);
  });

  it('looks once per step, however many micro-batches it has', () => {
    const vq = quantizer(codes, options);
    vq.forward(batch(2), { seed: 1, step: 2, micro: 0 });
    const restarted = numbers(vq.embedding.weight);
    expect(restarted).not.toEqual(codes);
    vq.forward(latents(-50, -60, -70), { seed: 1, step: 2, micro: 1 });
    expect(numbers(vq.embedding.weight)).toEqual(restarted);
    // What a later micro-batch uses counts in the next window.
    expect(numbers(vq.code_uses!)).toEqual([3, 0, 0, 0, 0]);
  });

  it('takes no vector that is not finite: a trainer leaves out the step, and the codes would stay', () => {
    const vq = quantizer(codes, options);
    vq.forward(latents(NaN, NaN, Infinity), { seed: 1, step: 2 });
    expect(numbers(vq.embedding.weight)).toEqual(codes);
  });

  it('works in float64 as well', () => {
    const vq = quantizer(codes, { ...options, codebookEma: {} }).to('float64');
    for (let step = 0; step < 3; step++) vq.forward(batch(step).to('float64'), { seed: 1, step });
    for (const code of numbers(vq.embedding.weight).slice(2)) {
      expect(numbers(batch(2))).toContain(code);
    }
  });

  it('restarts averages too', () => {
    const vq = run(quantizer(codes, { ...options, codebookEma: {} }), 0, 3);
    const { weight, cluster_size, embed_avg } = Object.fromEntries(vq.embedding.stateDict());
    expect(numbers(cluster_size).slice(2)).toEqual([1, 1, 1]);
    expect(numbers(embed_avg).slice(2)).toEqual(numbers(weight).slice(2));
    for (const code of numbers(weight).slice(2)) expect(numbers(batch(2))).toContain(code);
  });
});

describe('usage', () => {
  it('measures perplexity: as many codes as if all were used equally', () => {
    const perplexity = (indices: number[]) =>
      numbers(codePerplexity(tensor(indices, { dtype: 'int64' }), 8))[0];
    expect(perplexity([0, 1, 2, 3])).toBeCloseTo(4, 5);
    expect(perplexity([5, 5, 5])).toBeCloseTo(1, 5);
    expect(perplexity([0, 0, 0, 1])).toBeCloseTo(
      Math.exp(-(0.75 * Math.log(0.75) + 0.25 * Math.log(0.25))),
      5,
    );
  });

  it('counts over a run and reports the codes that died', async () => {
    const usage = new CodeUsage(4, 2);
    expect((await usage.report()).perplexity).toBe(0);
    expect(usage.totals().dead.itemSync()).toBe(4);
    for (const batch of [[0, 1, 2], [2, 2], [0]]) usage.forward(tensor(batch, { dtype: 'int64' }));
    const report = await usage.report();
    const shares = [2 / 6, 1 / 6, 3 / 6];
    const entropy = -shares.reduce((sum, share) => sum + share * Math.log(share), 0);
    expect(report).toEqual({
      batches: 3,
      counts: [2, 1, 3, 0],
      used: 3,
      perplexity: expect.closeTo(Math.exp(entropy), 6) as number,
      dead: [1, 3], // code 2 was used in the last two batches
    });

    const { used, dead } = usage.totals();
    expect([used.itemSync(), dead.itemSync()]).toEqual([3, 2]);

    const resumed = new CodeUsage(4, 2);
    resumed.loadStateDict(usage.stateDict());
    expect(await resumed.report()).toEqual(report);
    usage.reset();
    expect((await usage.report()).batches).toBe(0);
  });

  it('reads an index that does not exist as an error, not as a crash', () => {
    const bad = full([2], 9, { dtype: 'int64' });
    expect(() => codePerplexity(bad, 4).itemSync()).toThrow(/9/);
  });
});
