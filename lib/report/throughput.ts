// How many samples a second a model makes, and in how much memory (paper, figure 7).
import { cpus } from 'node:os';
import { tensor, zeros } from '../creation.js';
import { engineInfo, type Device } from '../device.js';
import type { LatentDiffusion, NetworkConditioning, SampleOptions } from '../ldm/index.js';
import { median } from '../metrics/index.js';
import { tidy } from '../scope.js';
import type { MachineDescription, ThroughputEntry } from './throughput_file.js';

/** What is measured as one. */
export interface ThroughputCase {
  /** as it is called in the file */
  readonly sampler: string;
  readonly sampling: Pick<SampleOptions, 'method' | 'steps' | 'eta'>;
  /** of the sampler */
  readonly steps: number;
  readonly batch: number;
}

export interface ThroughputOptions {
  /** Measurements of each case, of which the median counts. Default 3. */
  repeats?: number;
  /** Of the first sample; what is sampled is the same for the same seed. Default 0. */
  seed?: number;
  /** Scale of classifier-free guidance, which calls the network for two. Default 1: none. */
  guidance?: number;
  /** Whether the network's work is recorded where the device records, see `SampleOptions`. Default true. */
  capture?: boolean;
  signal?: AbortSignal;
  /** Sees every step of every repeat. */
  onStep?: (at: { measured: ThroughputCase; repeat: number; step: number; steps: number }) => void;
}

/**
 * Measures the cases one after the other, sampling and decoding, each warmed up before. What the model is
 * conditioned on is zeros of the right shape: time does not depend on values.
 */
export async function* measureThroughput(
  model: LatentDiffusion,
  cases: readonly ThroughputCase[],
  options: ThroughputOptions = {},
): AsyncGenerator<ThroughputEntry> {
  const { repeats = 3, seed = 0, guidance = 1, capture, signal, onStep } = options;
  const { device } = model.betas;
  let warm = 0;
  for (const measured of cases) {
    const { sampler, steps, batch, sampling } = measured;
    let residentBytes = 0;
    const once = (repeat: number, how: ThroughputCase['sampling']) =>
      tidy(async () => {
        const conditioning = placeholder(model, batch);
        const began = performance.now();
        await model.sample({
          ...how,
          ...(conditioning && { conditioning }),
          ...(guidance !== 1 && { guidance, unconditionalConditioning: conditioning }),
          seed: Array.from({ length: batch }, (_, i) => seed + i),
          capture,
          signal,
          onStep: ({ step, steps: all }) => {
            residentBytes = Math.max(residentBytes, process.memoryUsage.rss());
            onStep?.({ measured, repeat, step, steps: all });
          },
        });
        await device.synchronize();
        return (performance.now() - began) / 1000;
      });
    // Kernels and blocks of memory depend on the batch, not on the sampler.
    if (batch !== warm) await once(0, { method: 'ddim', steps: 2 });
    warm = batch;
    device.resetPeak();
    residentBytes = 0;
    const seconds: number[] = [];
    for (let repeat = 1; repeat <= repeats; repeat++) seconds.push(await once(repeat, sampling));
    yield {
      sampler,
      steps,
      batch,
      seconds,
      samplesPerSecond: batch / median(seconds),
      peakBytes: device.memoryStats().peakBytes,
      ...(device.name === 'cpu' && { residentBytes }),
    };
  }
}

/** The machine as a measurement describes it, by the device that computed. */
export function describeMachine({ name, index }: Device): MachineDescription {
  const { threads, level, cuda } = engineInfo();
  // The devices beside the CPU are the usable GPUs, in order.
  const gpu = cuda?.gpus.filter(({ reason }) => reason === '').at(index - 1);
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    threads,
    level,
    device: name,
    ...(index > 0 && gpu && { gpu: gpu.name }),
    node: process.version,
  };
}

// As many tokens as the usual encoders of text give.
const usualTokens = 77;

function placeholder(model: LatentDiffusion, batch: number): NetworkConditioning | undefined {
  const { spec, conditioner } = model;
  const { unet, conditioningKey } = spec;
  const { device } = model.betas;
  if (conditioningKey === undefined) return undefined;
  if (conditioningKey === 'adm') return { y: tensor(new BigInt64Array(batch), { device }) };
  const side = spec.imageSize ?? unet.imageSize ?? 0;
  const tokens =
    conditioner.kind === 'class'
      ? 1
      : conditioner.kind === 'bert'
        ? (conditioner.maxSeqLen ?? usualTokens)
        : usualTokens;
  const map = () => zeros([batch, side, side, unet.inChannels - unet.outChannels], { device });
  const context = () => zeros([batch, tokens, unet.contextDim ?? 0], { device });
  return {
    ...(conditioningKey !== 'crossattn' && { concat: map() }),
    ...(conditioningKey !== 'concat' && { context: context() }),
  };
}
