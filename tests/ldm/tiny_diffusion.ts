// Latent diffusion models so small that a step takes milliseconds.
import {
  buildLatentDiffusion,
  noise,
  tensor,
  tidy,
  type LatentDiffusion,
  type LatentDiffusionSpec,
  type SampleOptions,
  type SamplingMethod,
  type Tensor,
} from '../../lib/index.js';

/** 16x16 pixels to 8x8 latents of a KL model; 5 classes, the last of which means "none", by cross-attention. */
export function tinySpec(changed: Partial<LatentDiffusionSpec> = {}): LatentDiffusionSpec {
  return {
    unet: {
      imageSize: 8,
      inChannels: 3,
      outChannels: 3,
      modelChannels: 8,
      numResBlocks: 1,
      attentionResolutions: [1],
      channelMult: [1, 2],
      numHeads: 2,
      useSpatialTransformer: true,
      contextDim: 6,
      normGroups: 4,
    },
    firstStage: {
      kind: 'kl',
      embedDim: 3,
      ddconfig: {
        ch: 8,
        outCh: 3,
        chMult: [1, 2],
        numResBlocks: 1,
        inChannels: 3,
        resolution: 16,
        zChannels: 3,
        normGroups: 4,
      },
    },
    conditioner: { kind: 'class', embedDim: 6, nClasses: 5, unconditionalClass: 4 },
    conditioningKey: 'crossattn',
    conditionerTrainable: true,
    diffusion: { linearStart: 0.0015, linearEnd: 0.0195 },
    ...changed,
  };
}

/** The same without conditioning: attention blocks instead of transformers. */
export function plainSpec(changed: Partial<LatentDiffusionSpec> = {}): LatentDiffusionSpec {
  const { unet, firstStage, diffusion } = tinySpec();
  const { contextDim: _, useSpatialTransformer: __, ...rest } = unet;
  return { unet: rest, firstStage, diffusion, ...changed };
}

/** Every way to sample. */
export const samplingMethods: readonly SamplingMethod[] = [
  'ddim',
  'plms',
  'ddpm',
  'dpm-solver++',
  'unipc',
  'euler',
  'euler-ancestral',
];

/** Some steps of a method, with noise where it has a share of it; ancestral sampling walks all timesteps. */
export const stepping = (
  method: SamplingMethod,
  steps: number,
): Pick<SampleOptions, 'method' | 'steps' | 'eta'> => ({
  method,
  steps: method === 'ddpm' ? undefined : steps,
  eta: method === 'ddim' || method === 'euler-ancestral' ? 1 : undefined,
});

export const values = async (x: Tensor): Promise<number[]> =>
  Array.from((await x.data()) as Float32Array);
export const int64 = (...ids: number[]): Tensor => tensor(BigInt64Array.from(ids, BigInt));

/** Random weights everywhere: networks start with layers of zeros, which would hide what comes before them. */
export async function shaken(spec: LatentDiffusionSpec): Promise<LatentDiffusion> {
  const model = buildLatentDiffusion(spec);
  const state = [...model.model.namedParameters()].map(([key, x], step) => {
    const drawn = noise(x.shape, { seed: 3, step }).mul(0.1);
    return [key, key.endsWith('norm') ? drawn.add(1) : drawn] as const;
  });
  model.model.loadStateDict(new Map(state));
  for (const [, x] of state) x.dispose();
  return model.eval();
}

/** Runs body on a model in a scope and frees both. */
export async function withModel(
  spec: LatentDiffusionSpec,
  body: (model: LatentDiffusion) => Promise<void>,
): Promise<void> {
  const model = await shaken(spec);
  try {
    await tidy(() => body(model));
  } finally {
    model.dispose();
  }
}
