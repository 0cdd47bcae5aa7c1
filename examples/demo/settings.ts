// Sizes of the runs. Chosen so that two cores without a GPU finish the default run within a quarter
// of an hour and the quick one within three minutes.

export interface StageSettings {
  batch: number;
  steps: number;
  /** Peak of AdamW's learning rate; it warms up, then falls along a cosine to a twentieth. */
  learningRate: number;
  /** The same of Muon's, for the hidden weights. */
  hiddenLearningRate: number;
  warmup: number;
  emaDecay: number;
}

export interface Settings {
  /** Pictures used, spread evenly over the set. */
  pictures: number;
  autoencoder: StageSettings & { channels: number; multipliers: number[]; latentChannels: number };
  diffusion: StageSettings & {
    channels: number;
    multipliers: number[];
    blocks: number;
    /** Side of the squares of latents that the network sees as one position. */
    patch: number;
    /** Channels of what each word draws beside the latents. */
    sketchChannels: number;
  };
  sampling: { steps: number; guidance: number; perCategory: number };
  /** What a kill costs at most. */
  secondsBetweenSaves: number;
}

export const defaultSettings: Settings = {
  pictures: Infinity,
  autoencoder: {
    batch: 8,
    steps: 1200,
    learningRate: 2e-3,
    hiddenLearningRate: 3e-3,
    warmup: 50,
    emaDecay: 0.99,
    channels: 32,
    multipliers: [1, 1, 2],
    latentChannels: 6,
  },
  diffusion: {
    batch: 32,
    steps: 6000,
    learningRate: 1e-3,
    hiddenLearningRate: 3e-3,
    warmup: 100,
    emaDecay: 0.998,
    channels: 64,
    multipliers: [1, 2],
    blocks: 1,
    patch: 2,
    sketchChannels: 8,
  },
  sampling: { steps: 50, guidance: 2, perCategory: 10 },
  secondsBetweenSaves: 60,
};

export const quickSettings: Settings = {
  pictures: 400,
  autoencoder: { ...defaultSettings.autoencoder, steps: 250, warmup: 20, emaDecay: 0.97 },
  diffusion: { ...defaultSettings.diffusion, steps: 450, warmup: 20, emaDecay: 0.97 },
  sampling: { steps: 20, guidance: 3, perCategory: 6 },
  secondsBetweenSaves: 60,
};

const few = { batch: 2, steps: 40, warmup: 4 };
/** Shows in seconds that everything runs, and nothing else. */
export const checkSettings: Settings = {
  pictures: 40,
  autoencoder: { ...defaultSettings.autoencoder, ...few, channels: 8 },
  diffusion: { ...defaultSettings.diffusion, ...few, channels: 32 },
  sampling: { steps: 4, guidance: 2, perCategory: 2 },
  secondsBetweenSaves: 60,
};

/** Learning rates of a step, as a share of their peaks: linear warm-up, then a cosine down to 0.05. */
export function rateAt(step: number, { steps, warmup }: StageSettings): number {
  if (step < warmup) return (step + 1) / warmup;
  const progress = (step - warmup) / Math.max(1, steps - warmup);
  return 0.05 + 0.475 * (1 + Math.cos(Math.PI * progress));
}
