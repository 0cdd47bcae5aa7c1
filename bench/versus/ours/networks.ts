// Whole networks: a forward pass, or a training step with AdamW and clipping, recorded as the trainer does it; below
// float32 under autocast.
import {
  AdamW,
  autocast,
  capture,
  clipScale,
  full,
  gradNorm,
  Module,
  mseLoss,
  noGrad,
  tidy,
  zeros,
  type Tensor,
} from '../../../lib/index.js';
import {
  AutoencoderKL,
  buildLatentDiffusion,
  TransformerEncoder,
  UNetModel,
  type FirstStageConfig,
  type TransformerEncoderConfig,
  type UNetConfig,
} from '../../../lib/ldm/index.js';

type Randn = (...shape: number[]) => Tensor;
/** What autocast is told. */
export type Low = Parameters<typeof autocast>[0];

export interface UnetWork {
  unet: UNetConfig;
  text?: TransformerEncoderConfig;
  n: number;
  side: number;
  pass: 'forward' | 'step';
}

export function prepareUnet(
  randn: Randn,
  { unet, text, n, side, pass }: UnetWork,
  low: Low,
): () => unknown {
  const model = new Denoiser(unet, text);
  const x = randn(n, side, side, unet.inChannels);
  const noise = randn(n, side, side, unet.outChannels);
  const t = full([n], 500, { dtype: 'int32' });
  const y = unet.numClasses ? zeros([n], { dtype: 'int32' }) : undefined;
  const ids = text && zeros([n, text.maxSeqLen], { dtype: 'int32' });
  const predict = (): Tensor => model.forward(x, t, y, ids);
  const loss = (): Tensor => mseLoss(predict(), noise);
  return pass === 'forward' ? inference(predict, low) : training(model, loss, low);
}

export interface SamplingWork {
  unet: UNetConfig;
  n: number;
  side: number;
  steps: number;
}

/** Pixels of a model without a first stage, by the library's own sampler, which records what a GPU replays. */
export function prepareSampling(
  { unet, n, side, steps }: SamplingWork,
  low: Low,
): () => Promise<void> {
  const model = buildLatentDiffusion({ unet, firstStage: { kind: 'identity' }, imageSize: side });
  const seed = Array.from({ length: n }, (_, i) => i);
  return () =>
    tidy(() =>
      autocast(low, async () => {
        await model.sample({ method: 'ddim', steps, seed, decode: false });
      }),
    );
}

class Denoiser extends Module<[Tensor, Tensor, Tensor?, Tensor?], Tensor> {
  readonly unet: UNetModel;
  readonly text: TransformerEncoder | null;

  constructor(unet: UNetConfig, text?: TransformerEncoderConfig) {
    super();
    this.unet = new UNetModel(unet);
    this.text = text ? new TransformerEncoder(text) : null;
  }

  forward(x: Tensor, t: Tensor, y?: Tensor, ids?: Tensor): Tensor {
    return this.unet.forward(x, t, { y, context: ids && this.text?.forward(ids) });
  }
}

export interface AutoencoderWork {
  ddconfig: FirstStageConfig;
  n: number;
  /** of the latent when decoding, else of the picture */
  side: number;
  pass: 'encode' | 'decode' | 'step';
}

export function prepareAutoencoder(
  randn: Randn,
  { ddconfig, n, side, pass }: AutoencoderWork,
  low: Low,
): () => unknown {
  const model = new AutoencoderKL({ ddconfig, embedDim: ddconfig.zChannels });
  if (pass === 'decode') {
    const latent = randn(n, side, side, ddconfig.zChannels);
    return inference(() => model.decode(latent), low);
  }
  const x = randn(n, side, side, 3);
  if (pass === 'encode') return inference(() => model.encode(x).mean, low);
  const small = side / 2 ** (ddconfig.chMult!.length - 1);
  const draw = randn(n, small, small, ddconfig.zChannels);
  const loss = (): Tensor => {
    const { reconstruction, posterior } = model.forward(x, draw);
    const error = reconstruction.sub(x);
    return error.abs().mean().add(error.square().mean()).add(posterior.kl().mean().mul(1e-6));
  };
  return training(model, loss, low);
}

const inference = (forward: () => Tensor, low: Low) => () => autocast(low, () => noGrad(forward));

function training(model: Module, loss: () => Tensor, low: Low): () => unknown {
  const optimizer = new AdamW(model.parameters(), { lr: 1e-4 });
  const parameters = model.parameters();
  const backward = capture(() => {
    autocast(low, loss).backward();
    return clipScale(gradNorm(parameters), 1);
  });
  return () =>
    tidy(() => {
      const gradScale = backward();
      optimizer.step({ gradScale });
      optimizer.zeroGrad();
    });
}
