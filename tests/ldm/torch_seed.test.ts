// Sampling with PyTorch's random numbers: those that torch.manual_seed(0) gives, in the order in which the original
// draws them for a batch.
import { beforeAll, describe, expect, it } from 'vitest';
import {
  ddim,
  ddpm,
  eulerAncestral,
  GaussianDiffusion,
  keep,
  lastLatent,
  noise,
  permute,
  plms,
  readSafetensors,
  zeros,
  type Denoiser,
  type SamplerOptions,
  type SamplerRun,
  type Tensor,
} from '../../lib/index.js';
import { golden } from '../io/temporary.js';
import { int64, tinySpec, values, withModel } from './tiny_diffusion.js';

const shape = [2, 8, 8, 3];
const size = 384;
// torch.randn draws as much at once as in pieces, as long as these are multiples of 16.
let drawn: Tensor[];

beforeAll(async () => {
  const file = await readSafetensors(golden('ops/torch_rng.safetensors'));
  const all = await file.get('out.randn_4096');
  drawn = Array.from({ length: 10 }, (_, i) =>
    keep(permute(all.narrow(0, i * size, size).reshape([2, 3, 8, 8]), [0, 2, 3, 1])),
  );
});

const diffusion = new GaussianDiffusion({ linearStart: 0.0015, linearEnd: 0.0195 });
const short = new GaussianDiffusion({ timesteps: 3 });
const denoise: Denoiser = (x) => x.mul(0.3);

async function expectSame(found: Tensor, expected: Tensor): Promise<void> {
  const wanted = await values(expected);
  (await values(found)).forEach((x, i) => expect(x).toBeCloseTo(wanted[i], 4));
}

type Run = (options: SamplerOptions) => SamplerRun;
const runs: Record<string, Run> = {
  ddim: (options) => ddim(denoise, diffusion.schedule, { ...options, steps: 4, eta: 1 }),
  'ddim without noise': (options) => ddim(denoise, diffusion.schedule, { ...options, steps: 4 }),
  plms: (options) => plms(denoise, diffusion.schedule, { ...options, steps: 4 }),
  ddpm: (options) => ddpm(denoise, short, options),
  'euler-ancestral': (options) =>
    eulerAncestral(denoise, diffusion.schedule, { ...options, steps: 4 }),
};

describe('torchSeed', () => {
  // Numbers of the draws that become the noise of steps and of the known part of a mask.
  it.each<[string, number[], number[]]>([
    ['ddim', [1, 2, 3, 4], []],
    ['ddim', [2, 4, 6, 8], [1, 3, 5, 7]],
    // drawn there even where nothing is made of it
    ['ddim without noise', [], [1, 3, 5, 7]],
    // and twice in the first step of PLMS
    ['plms', [], [1, 4, 6, 8]],
    ['ddpm', [1, 2, 3], []],
    // blended behind the step
    ['ddpm', [1, 3, 5], [2, 4, 6]],
    ['euler-ancestral', [1, 2, 3], []],
  ])('%s draws steps %j and masks %j', async (name, steps, masks) => {
    const mask = {
      keep: noise([2, 8, 8, 1], { seed: 1 }).gt(0).to('float32'),
      known: zeros(shape),
    };
    const blended = masks.length > 0;
    const found = runs[name]({ torchSeed: 0, shape, ...(blended && { mask }) });
    const given = runs[name]({
      initial: drawn[0],
      ...(steps.length > 0 && { noise: (step: number) => drawn[steps[step]] }),
      ...(blended && { mask: { ...mask, noise: (step: number) => drawn[masks[step]] } }),
    });
    await expectSame(await lastLatent(found), await lastLatent(given));
  });

  it('starts from a picture with the first draw', async () => {
    const latent = noise(shape, { seed: 2 });
    const image = { latent, strength: 1 };
    const schedule = { steps: 1, image, torchSeed: 0 };
    for await (const { predX0 } of ddim((x) => x, diffusion.schedule, schedule)) {
      const a = diffusion.schedule.alphasCumprod[1];
      const x = latent.mul(Math.sqrt(a)).add(drawn[0].mul(Math.sqrt(1 - a)));
      await expectSame(predX0, x.mul((1 - Math.sqrt(1 - a)) / Math.sqrt(a)));
    }
  });

  it('is one draw for the batch with repeatNoise', async () => {
    const options = {
      steps: 1,
      eta: 1,
      shape,
      torchSeed: 0,
      repeatNoise: true,
      initial: zeros(shape),
    };
    const [one, other] = (
      await lastLatent(ddim((x) => x.mul(0), diffusion.schedule, options))
    ).chunk(2, 0);
    expect(await values(one)).toEqual(await values(other));
  });

  it('is taken by a whole model, whatever the seed', () =>
    withModel(tinySpec(), async (model) => {
      const sample = (options: { torchSeed?: number; seed?: number; initial?: Tensor }) =>
        model.sample({ ...options, condition: int64(0, 1), steps: 3, guidance: 2, decode: false });
      const { latents } = await sample({ torchSeed: 0, seed: 5 });
      const { latents: expected } = await sample({ initial: drawn[0] });
      await expectSame(latents, expected);
      const { latents: other } = await sample({ torchSeed: 1 });
      expect(await values(other)).not.toEqual(await values(latents));
    }));

  it('has no dropout of its own', async () => {
    const options = { steps: 1, shape, torchSeed: 0, noiseDropout: 0.5 };
    await expect(lastLatent(ddim(denoise, diffusion.schedule, options))).rejects.toThrow(
      'noiseDropout is not drawn as PyTorch draws it',
    );
  });
});
