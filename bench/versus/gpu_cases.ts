// What a GPU is asked: the same layers and networks at batch sizes that fill it, and the two ceilings.
import { dtypeInfo, type DType } from '../../lib/dtype.js';
import {
  attention,
  conv,
  gemm,
  groupNorm,
  klF8,
  large,
  ldm4,
  linear,
  network,
  norm,
  rows,
  type Goals,
  type VersusCase,
} from './cases.js';
import type { Work } from './protocol.js';

interface Ceiling {
  work: Work;
  /** Operations or bytes of one run. */
  amount: number;
}

/** A large product and a large copy, each in the dtype of the run. */
export const gpuCeilings: Readonly<Record<'flops' | 'bytes', Ceiling>> = {
  flops: {
    work: {
      kind: 'gemm',
      args: { m: 8192, n: 8192, k: 8192, transposeA: false, transposeB: true },
    },
    amount: 2 * 8192 ** 3,
  },
  bytes: { work: { kind: 'copy', args: { count: 2 ** 30 } }, amount: 2 * 2 * 2 ** 30 },
};

/** What an H200 is to reach beside PyTorch; ratios are our time over PyTorch's. */
export const gpuGoals: Goals = {
  gemm: { ratio: 1, peakShare: 0.7 },
  linear: { ratio: 1 },
  'conv forward': { ratio: 1, peakShare: 0.7 },
  'conv input gradient': { ratio: 1, peakShare: 0.7 },
  'conv weight gradient': { ratio: 1, peakShare: 0.7 },
  'attention forward': { ratio: 1 },
  'attention backward': { ratio: 1 },
  'group norm + SiLU': { ratio: 1 / 1.5, bandwidthShare: 0.85 },
  'layer norm and softmax': { ratio: 1 },
  elementwise: { ratio: 1 / 1.5, bandwidthShare: 0.85 },
  adam: { ratio: 1 / 1.5, bandwidthShare: 0.85 },
  'LDM-4 step': { ratio: 1 / 1.3, memory: true },
  'LDM-4 compiled step': { ratio: 1 },
  'LDM-4 forward': { ratio: 1, memory: true },
  'LDM-4 sampling': { ratio: 1 / 1.5 },
  'KL-f8': { ratio: 1, memory: true },
  overhead: {},
};

const batch = 8;

/** Operations of one LDM-4 U-Net pass and of KL-f8 at 512², per picture. */
const unetFlops = 202e9;
const klF8Flops = { encode: 1117e9, decode: 2515e9 };

const training = (n: number, compile: boolean): VersusCase =>
  network(
    compile ? 'LDM-4 compiled step' : 'LDM-4 step',
    `LDM-4 U-Net step, batch ${n}${compile ? ' (theirs: torch.compile)' : ''}`,
    'unet',
    { unet: ldm4, n, side: 64, pass: 'step', compile },
    3 * n * unetFlops,
  );

const samplingSteps = 50;
const sampling = (n: number): VersusCase =>
  network(
    'LDM-4 sampling',
    `LDM-4 sampling, ${samplingSteps} steps of DDIM, batch ${n}`,
    'sampling',
    { unet: ldm4, n, side: 64, steps: samplingSteps },
    samplingSteps * n * unetFlops,
  );

const klF8At512 = (pass: 'encode' | 'decode'): VersusCase =>
  network(
    'KL-f8',
    `KL-f8 ${pass} at 512²`,
    'autoencoder',
    { ddconfig: klF8, n: 1, side: pass === 'encode' ? 512 : 64, pass },
    klF8Flops[pass],
  );

const inFloat32: readonly VersusCase[] = [
  ...[1024, 2048, 4096, 8192].map((size) => gemm(size, size, size, 'nt')),
  gemm(4096, 4096, 4096, 'nn'),
  gemm(4096, 4096, 4096, 'tn'),
  gemm(batch * 4096, 320, 320, 'nt'),
  gemm(batch * 77, 2560, 768, 'nt'),
  ...(['forward', 'backward'] as const).flatMap((pass) => [
    linear(batch * 1024, 448, 1344, pass),
    linear(batch * 4096, 320, 2560, pass),
    linear(batch * 256, 1280, 10240, pass),
    linear(batch, 1280, 1280, pass),
  ]),
  ...conv(64, 3, 224, 3, 1, batch),
  ...conv(64, 224, 224, 3, 1, batch),
  ...conv(64, 224, 224, 3, 2, batch),
  ...conv(32, 448, 448, 3, 1, batch),
  ...conv(16, 672, 672, 3, 1, batch),
  ...conv(8, 896, 896, 3, 1, batch),
  ...conv(32, 1120, 448, 3, 1, batch),
  ...conv(64, 672, 224, 3, 1, batch),
  ...conv(64, 672, 224, 1, 1, batch),
  ...conv(64, 320, 320, 3, 1, batch),
  ...conv(16, 1280, 1280, 3, 1, batch),
  ...conv(8, 2560, 1280, 3, 1, batch),
  ...conv(64, 320, 320, 3, 1, 1),
  ...conv(16, 1280, 1280, 3, 1, 1),
  ...conv(256, 128, 128, 3, 1, 2),
  ...conv(512, 128, 128, 3, 1, 1),
  ...conv(128, 512, 512, 3, 1, 2),
  ...conv(512, 128, 3, 3, 1, 1),
  ...attention(1024, 1024, 14, 32, batch),
  ...attention(4096, 4096, 8, 40, batch),
  ...attention(4096, 77, 8, 40, batch),
  ...attention(1024, 1024, 8, 80, batch),
  ...attention(1024, 1024, 8, 64, batch),
  ...attention(256, 256, 8, 160, batch),
  ...attention(4096, 4096, 1, 512, 1),
  ...groupNorm(batch, 64, 224),
  ...groupNorm(batch, 32, 448),
  ...groupNorm(batch, 256, 128),
  ...rows('layerNorm', batch * 4096, 320),
  ...rows('softmax', 4096, 4096),
  ...norm('elementwise', 'elementwise', 'SiLU 64M', { count: 4 * large }, 4 * large),
  { group: 'adam', name: 'AdamW 274M', kind: 'adam', args: { count: 274e6 }, bytes: 28 * 274e6 },
  training(8, false),
  training(32, false),
  network(
    'LDM-4 forward',
    'LDM-4 U-Net forward, batch 8',
    'unet',
    { unet: ldm4, n: batch, side: 64, pass: 'forward' },
    batch * unetFlops,
  ),
  sampling(1),
  sampling(batch),
  klF8At512('encode'),
  klF8At512('decode'),
  { group: 'overhead', name: 'add of one element', kind: 'tiny', args: { repeats: 10000 } },
  training(8, true), // last: it compiles for a minute
];

/** The cases with the bytes that they move in this dtype; optimizers keep float32. */
export const gpuCases = (dtype: DType): readonly VersusCase[] =>
  inFloat32.map((work) =>
    work.kind === 'adam' || work.bytes === undefined
      ? work
      : { ...work, bytes: (work.bytes * dtypeInfo(dtype).bytes) / dtypeInfo('float32').bytes },
  );
