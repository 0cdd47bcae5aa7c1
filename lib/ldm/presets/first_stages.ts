/** Published first stages, and the whole zoo of the paper's Table 8, as specs. */
import type { AutoencoderConfig, FirstStageSpec, VqConfig } from '../first_stage/index.js';

// What every model of the zoo shares; the spec of each adds widths, attention and the latent.
const common = {
  ch: 128,
  outCh: 3,
  numResBlocks: 2,
  inChannels: 3,
  resolution: 256,
  dropout: 0,
} as const;

interface Layout {
  chMult: readonly number[];
  attnResolutions?: readonly number[];
  attnType?: 'none';
}

function kl(channels: number, { attnResolutions = [], ...layout }: Layout) {
  const ddconfig = { ...common, ...layout, attnResolutions, zChannels: channels, doubleZ: true };
  return { kind: 'kl', ddconfig, embedDim: channels } as const satisfies FirstStageSpec;
}

function vq(codes: number, channels: number, { attnResolutions = [], ...layout }: Layout) {
  const ddconfig = { ...common, ...layout, attnResolutions, zChannels: channels, doubleZ: false };
  return {
    kind: 'vq',
    ddconfig,
    embedDim: channels,
    nEmbed: codes,
  } as const satisfies FirstStageSpec;
}

const f2: Layout = { chMult: [1, 2] };
const f4: Layout = { chMult: [1, 2, 4] };
const f16: Layout = { chMult: [1, 1, 2, 2, 4], attnResolutions: [16] };
const f32: Layout = { chMult: [1, 1, 2, 2, 4, 4], attnResolutions: [16, 8] };

/** The released KL models. */
const publishedKl = {
  'kl-f4': kl(3, f4),
  'kl-f8': kl(4, { chMult: [1, 2, 4, 4] }),
  'kl-f16': kl(16, f16),
  'kl-f32': kl(64, f32),
} satisfies Record<string, { kind: 'kl' } & AutoencoderConfig>;

const vqF8: Layout = { chMult: [1, 2, 2, 4], attnResolutions: [32] };

/** The released VQ models. */
const publishedVq = {
  'vq-f4': vq(8192, 3, f4),
  'vq-f4-noattn': vq(8192, 3, { ...f4, attnType: 'none' }),
  'vq-f8': vq(16_384, 4, vqF8),
  'vq-f8-n256': vq(256, 4, vqF8),
  'vq-f16': vq(16_384, 8, f16),
} satisfies Record<string, { kind: 'vq' } & VqConfig>;

/** Rows of Table 8 whose weights and configs were never released. */
const unreleased = {
  'kl-f2': kl(2, f2),
  'kl-f16-c8': kl(8, f16),
  'kl-f32-c16': kl(16, f32),
  'vq-f2': vq(2048, 2, f2),
  'vq-f2-n64': vq(64, 2, f2),
  'vq-f4-n256': vq(256, 3, f4),
  'vq-f32': vq(16_384, 16, f32),
} satisfies Record<string, FirstStageSpec>;

export type PublishedFirstStage = keyof typeof publishedKl | keyof typeof publishedVq;
export type FirstStagePreset = PublishedFirstStage | keyof typeof unreleased | 'identity';

/**
 * First stages by name: kind, downsampling factor f and, where a plain name would be ambiguous, the number
 * of codes (`n`) or the channels of the latent (`c`).
 *
 * Taken from the released configurations, layer by layer: `kl-f4`, `kl-f8`, `kl-f16`, `kl-f32`, `vq-f4`,
 * `vq-f4-noattn`, `vq-f8`, `vq-f8-n256`, `vq-f16`.
 *
 * Derived: the other rows of the paper's Table 8, which gives f, the number of codes and the channels of the
 * latent only (`kl-f2` c 2; `kl-f16-c8`; `kl-f32-c16`; `vq-f2` 2048 codes, c 2; `vq-f2-n64` c 2; `vq-f4-n256`
 * c 3; `vq-f32` 16384 codes, c 16). Widths and attention are those of the released model of the same f; for
 * f = 2 the first two levels of f = 4. `identity` is f = 1: diffusion on pixels.
 *
 * A VQ model becomes the first stage of a diffusion model with another kind and the same weights:
 * `{ ...firstStagePresets['vq-f4'], kind: 'vq-interface' }`.
 */
export const firstStagePresets: Readonly<Record<FirstStagePreset, FirstStageSpec>> = {
  ...publishedKl,
  ...publishedVq,
  ...unreleased,
  identity: { kind: 'identity' },
};
