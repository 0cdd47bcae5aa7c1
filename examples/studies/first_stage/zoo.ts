// The paper's Table 8 in small: first stages of every downsampling factor and both regularisers, narrow enough
// for two cores and 64-pixel drawings.
import type { AutoencoderConfig, FirstStageSpec, VqConfig } from '../../../lib/index.js';
import { side } from '../../demo/emoji.js';

export interface Entry {
  /** As in `vq-f4`. */
  readonly name: string;
  readonly regularizer: 'KL' | 'VQ';
  readonly f: number;
  /** Channels of the latent. */
  readonly channels: number;
  /** Size of the codebook, for VQ. */
  readonly codes?: number;
  readonly spec: FirstStageSpec;
}

const width = 32;
const codes = 1024;
/**
 * Widths per level over the first, and channels of the latent: f and channels grow as in the table, so that a
 * picture's latent loses a factor of two to four per row.
 */
const rows = [
  { f: 1, chMult: [1], channels: 3 },
  { f: 2, chMult: [1, 1], channels: 2 },
  { f: 4, chMult: [1, 1, 2], channels: 3 },
  { f: 8, chMult: [1, 1, 2, 2], channels: 4 },
  { f: 16, chMult: [1, 1, 2, 2, 4], channels: 8 },
  { f: 32, chMult: [1, 1, 2, 2, 4, 4], channels: 16 },
] as const;

function autoencoder(chMult: readonly number[], channels: number): AutoencoderConfig {
  return {
    ddconfig: {
      ch: width,
      outCh: 3,
      chMult,
      numResBlocks: 1,
      inChannels: 3,
      resolution: side,
      zChannels: channels,
      attnType: 'none', // attention over the 4,096 pixels of f = 1 would be all that its network computes
      normGroups: 8,
    },
    embedDim: channels,
  };
}

function vqConfig(chMult: readonly number[], channels: number): VqConfig {
  const config = autoencoder(chMult, channels);
  return {
    ...config,
    ddconfig: { ...config.ddconfig, doubleZ: false },
    nEmbed: codes,
    // In so few steps a codebook trained by gradients alone does not get away from its start.
    codebookEma: {},
    restartDeadCodes: { every: 50 },
  };
}

/** All entries, KL before VQ, f ascending. */
export const zoo: readonly Entry[] = [
  ...rows.map(({ f, chMult, channels }): Entry => {
    const spec = { kind: 'kl', ...autoencoder(chMult, channels) } as const;
    return { name: `kl-f${f}`, regularizer: 'KL', f, channels, spec };
  }),
  ...rows.map(({ f, chMult, channels }): Entry => {
    const spec = { kind: 'vq', ...vqConfig(chMult, channels) } as const;
    return { name: `vq-f${f}`, regularizer: 'VQ', f, channels, codes, spec };
  }),
];
