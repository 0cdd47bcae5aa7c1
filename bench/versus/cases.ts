// The work on which emulsion is held against PyTorch, and what is asked of it. Layer shapes are those of the
// released models: the LDM-4 (CelebA-HQ) and LDM-8 (Stable Diffusion) U-Nets and the KL-f8 first stage.
import { defaultSettings } from '../../examples/demo/settings.js';
import { autoencoderConfig, diffusionConfig } from '../../examples/demo/models.js';
import type { Work } from './protocol.js';

export interface VersusCase extends Work {
  group: string;
  name: string;
  /** Floating-point operations of one run. */
  flops?: number;
  /** Bytes that one run must move at least: each input read and each output written once. */
  bytes?: number;
  /** Processes of its own, for its peak memory. */
  fresh?: boolean;
  /** Whether float32 errors are compared too. */
  error?: boolean;
}

export type Goals = Readonly<Record<string, Goal>>;

/** What a group of cases is to reach. Ratios are our time over PyTorch's, as geometric means. */
export interface Goal {
  ratio?: number;
  peakShare?: number;
  bandwidthShare?: number;
  /** Our peak memory is to be no larger. */
  memory?: boolean;
}

export const goals: Goals = {
  gemm: { ratio: 1, peakShare: 0.85 },
  linear: { ratio: 1 },
  'conv forward': { ratio: 1 / 1.1, peakShare: 0.8 },
  'conv input gradient': { ratio: 1 / 2, peakShare: 0.8 },
  'conv weight gradient': { ratio: 1 / 2, peakShare: 0.8 },
  'attention forward': { ratio: 1 / 1.4, peakShare: 0.6 },
  'attention backward': { ratio: 1 / 1.4, peakShare: 0.6 },
  'group norm + SiLU': { ratio: 0.1, bandwidthShare: 0.8 },
  'layer norm and softmax': { ratio: 1, bandwidthShare: 0.8 },
  elementwise: { ratio: 1, bandwidthShare: 0.8 },
  adam: { ratio: 1, bandwidthShare: 0.8 },
  'LDM-4 forward': { ratio: 0.7, memory: true },
  'LDM-4 step': { ratio: 0.45, memory: true },
  'KL-f8 decode': { ratio: 0.6, memory: true },
  'demo step': { ratio: 0.45 },
  'small U-Net': { ratio: 0.45 },
  overhead: {},
};

const float = 4;
const batched = (n: number): string => (n > 1 ? `${n}x` : '');
const product = (...extents: number[]): number => extents.reduce((a, b) => a * b, 1);
/** Below this a float64 run is short enough to tell the error. */
const flopsWithError = 1e10;

export function gemm(m: number, n: number, k: number, transposes = 'nn'): VersusCase {
  const [transposeA, transposeB] = [...transposes].map((t) => t === 't');
  const flops = 2 * m * n * k;
  return {
    group: 'gemm',
    name: `gemm ${m}x${n}x${k} ${transposes}`,
    kind: 'gemm',
    args: { m, n, k, transposeA, transposeB },
    flops,
    bytes: float * (m * k + k * n + m * n),
    error: flops < flopsWithError,
  };
}

export function linear(m: number, c: number, k: number, pass: 'forward' | 'backward'): VersusCase {
  const flops = (pass === 'forward' ? 2 : 4) * m * c * k;
  return {
    group: 'linear',
    name: `linear ${m}x${c}→${k} ${pass}`,
    kind: 'linear',
    args: { m, c, k, pass },
    flops,
    bytes: float * ((pass === 'forward' ? 1 : 2) * (m * c + c * k) + m * k),
    error: flops < flopsWithError,
  };
}

const convPasses = [
  ['conv forward', 'forward'],
  ['conv input gradient', 'input'],
  ['conv weight gradient', 'weight'],
] as const;

export function conv(side: number, c: number, k: number, r = 3, stride = 1, n = 1): VersusCase[] {
  const out = side / stride;
  const flops = product(2, n, out, out, k, c, r, r);
  return convPasses.map(([group, pass]) => ({
    group,
    name: `conv${r}x${r} ${batched(n)}${side}² ${c}→${k}${stride > 1 ? ` stride ${stride}` : ''} ${pass}`,
    kind: 'conv',
    args: { n, h: side, w: side, c, k, r, stride, pass },
    flops,
    bytes: float * (n * (side * side * c + out * out * k) + r * r * c * k),
    error: flops < flopsWithError,
  }));
}

export function attention(t: number, s: number, heads: number, d: number, n = 1): VersusCase[] {
  const forward = product(4, n, t, s, heads, d);
  return (['forward', 'backward'] as const).map((pass) => ({
    group: `attention ${pass}`,
    name: `attention ${batched(n)}${t}x${s} heads ${heads}x${d} ${pass}`,
    kind: 'attention',
    args: { n, t, s, heads, d, pass },
    flops: pass === 'forward' ? forward : 2.5 * forward,
    bytes: float * product(n, pass === 'forward' ? 2 * t + 2 * s : 3 * t + 4 * s, heads, d),
    error: forward < flopsWithError,
  }));
}

export function norm(
  group: string,
  kind: string,
  label: string,
  args: Record<string, number>,
  elements: number,
): VersusCase[] {
  // The gradient reads x and dy and writes dx.
  return (['forward', 'backward'] as const).map((pass) => ({
    group,
    name: `${label} ${pass}`,
    kind,
    args: { ...args, pass },
    bytes: float * elements * (pass === 'forward' ? 2 : 3),
    error: true,
  }));
}

export const groupNorm = (n: number, side: number, c: number): VersusCase[] =>
  norm(
    'group norm + SiLU',
    'groupNorm',
    `groupNorm+SiLU ${n}x${side}²x${c}`,
    { n, h: side, w: side, c },
    n * side * side * c,
  );

export const rows = (kind: 'layerNorm' | 'softmax', m: number, c: number): VersusCase[] =>
  norm('layer norm and softmax', kind, `${kind} ${m}x${c}`, { m, c }, m * c);

export const large = 2 ** 24;
const tinyRepeats = 10000;

export const ldm4 = {
  inChannels: 3,
  outChannels: 3,
  modelChannels: 224,
  numResBlocks: 2,
  attentionResolutions: [8, 4, 2],
  channelMult: [1, 2, 3, 4],
  numHeadChannels: 32,
};

const smallUnet = {
  inChannels: 4,
  outChannels: 4,
  modelChannels: 96,
  numResBlocks: 2,
  attentionResolutions: [2, 4],
  channelMult: [1, 2, 3],
  numHeadChannels: 32,
};

export const klF8 = {
  ch: 128,
  outCh: 3,
  chMult: [1, 2, 4, 4],
  numResBlocks: 2,
  inChannels: 3,
  resolution: 256,
  zChannels: 4,
};

const demo = diffusionConfig(
  defaultSettings,
  Array.from({ length: 9 }, (_, i) => `category ${i}`),
  Array.from({ length: 1000 }, (_, i) => `word${i}`),
);

export function network(
  group: string,
  name: string,
  kind: string,
  args: Record<string, unknown>,
  flops?: number,
): VersusCase {
  return { group, name, kind, args, flops, fresh: true };
}

export const cases: readonly VersusCase[] = [
  ...[256, 512, 1024, 2048].flatMap((size) =>
    ['nn', 'nt', 'tn', 'tt'].map((transposes) => gemm(size, size, size, transposes)),
  ),
  gemm(4096, 4096, 4096),
  gemm(4096, 320, 320),
  gemm(4096, 2560, 320),
  gemm(1024, 448, 448),
  gemm(256, 672, 672),
  gemm(77, 2560, 768),
  gemm(64, 896, 896),
  ...(['forward', 'backward'] as const).flatMap((pass) => [
    linear(1024, 448, 1344, pass),
    linear(256, 672, 2016, pass),
    linear(4096, 320, 960, pass),
    linear(256, 1280, 10240, pass),
    linear(1, 1280, 1280, pass),
  ]),
  ...conv(64, 3, 224),
  ...conv(64, 224, 224),
  ...conv(64, 224, 224, 3, 2),
  ...conv(32, 224, 448),
  ...conv(32, 448, 448),
  ...conv(16, 672, 672),
  ...conv(8, 896, 896),
  ...conv(8, 1792, 896),
  ...conv(16, 1568, 672),
  ...conv(32, 1120, 448),
  ...conv(64, 672, 224),
  ...conv(64, 448, 224),
  ...conv(64, 672, 224, 1),
  ...conv(64, 192, 192),
  ...conv(8, 960, 960),
  ...conv(64, 320, 320),
  ...conv(32, 640, 640),
  ...conv(16, 1280, 1280),
  ...conv(8, 1280, 1280),
  ...conv(8, 2560, 1280),
  ...conv(64, 960, 320),
  ...conv(64, 640, 640),
  ...conv(256, 128, 128),
  ...conv(512, 128, 128),
  ...conv(512, 256, 128),
  ...conv(256, 256, 256),
  ...conv(256, 512, 256),
  ...conv(128, 512, 512),
  ...conv(64, 512, 512),
  ...conv(512, 3, 128),
  ...conv(512, 128, 3),
  ...attention(1024, 1024, 14, 32),
  ...attention(256, 256, 21, 32),
  ...attention(64, 64, 28, 32),
  ...attention(4096, 4096, 8, 40),
  ...attention(4096, 77, 8, 40),
  ...attention(1024, 1024, 8, 64),
  ...attention(4096, 4096, 1, 512),
  ...attention(1024, 1024, 1, 512),
  ...groupNorm(4, 128, 128),
  ...groupNorm(1, 256, 128),
  ...groupNorm(8, 32, 448),
  ...rows('layerNorm', 4 * 4096, 320),
  ...rows('layerNorm', 16 * 1024, 640),
  ...rows('softmax', 4096, 4096),
  {
    group: 'elementwise',
    name: 'add 16M',
    kind: 'elementwise',
    args: { count: large, op: 'add' },
    bytes: 3 * float * large,
  },
  ...norm('elementwise', 'elementwise', 'SiLU 16M', { count: large }, large),
  {
    group: 'adam',
    name: 'AdamW 10M',
    kind: 'adam',
    args: { count: 1e7 },
    bytes: 7 * float * 1e7,
  },
  network(
    'LDM-4 forward',
    'LDM-4 U-Net 64²x3 forward',
    'unet',
    { unet: ldm4, n: 1, side: 64, pass: 'forward' },
    202e9,
  ),
  network(
    'LDM-4 step',
    'LDM-4 U-Net 64²x3 AdamW step',
    'unet',
    { unet: ldm4, n: 1, side: 64, pass: 'step' },
    606e9,
  ),
  network(
    'KL-f8 decode',
    'KL-f8 decode to 512²',
    'autoencoder',
    { ddconfig: klF8, n: 1, side: 64, pass: 'decode' },
    2515e9,
  ),
  network('demo step', 'demo U-Net step', 'unet', {
    unet: demo.unet,
    text: demo.text,
    n: defaultSettings.diffusion.batch,
    side: demo.unet.imageSize,
    pass: 'step',
  }),
  network('demo step', 'demo autoencoder step', 'autoencoder', {
    ddconfig: autoencoderConfig(defaultSettings).ddconfig,
    n: defaultSettings.autoencoder.batch,
    side: 64,
    pass: 'step',
  }),
  ...(['forward', 'step'] as const).map((pass) =>
    network('small U-Net', `small U-Net 16²x4, batch 16, ${pass}`, 'unet', {
      unet: smallUnet,
      n: 16,
      side: 16,
      pass,
    }),
  ),
  {
    group: 'overhead',
    name: 'add of one element',
    kind: 'tiny',
    args: { repeats: tinyRepeats },
  },
];

/** Operations in one run of a case: times are of one. */
export const operationsOf = ({ args }: VersusCase): number => Number(args.repeats ?? 1);
