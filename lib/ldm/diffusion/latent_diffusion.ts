/** Latent diffusion (paper, section 3): first stage, conditioner and denoising network as one model. */
import { noGrad } from '../../autograd/index.js';
import { tensor, zerosLike } from '../../creation.js';
import type { Device } from '../../device.js';
import type { DType } from '../../dtype.js';
import { check, checkShape } from '../../errors.js';
import { buffer, Module } from '../../nn/index.js';
import { argmax, std } from '../../ops/index.js';
import type { NoiseOptions } from '../../random.js';
import { tidy } from '../../scope.js';
import type { Tensor } from '../../tensor.js';
import { dropCondition } from '../conditioning/unconditional.js';
import {
  buildConditionEncoder,
  unconditionalCondition,
  type ConditionerSpec,
  type ConditionInput,
  type ConditionStage,
} from '../conditioning/index.js';
import {
  buildFirstStage,
  DiagonalGaussian,
  VQModel,
  VQModelInterface,
  type FirstStage,
} from '../first_stage/index.js';
import { ConditioningLevels } from './conditioning_levels.js';
import { DiffusionWrapper, type NetworkConditioning } from './diffusion_wrapper.js';
import { encodeCondition } from './encode_condition.js';
import { GaussianDiffusion } from './gaussian_diffusion.js';
import { checkLatentDiffusionSpec, type LatentDiffusionSpec } from './latent_diffusion_spec.js';
import type { DiffusionBatch, LatentDiffusionLoss, LossDraws } from './latent_diffusion_loss.js';
import { sampleLatents, type LatentSamples, type SampleOptions } from './latent_sampling.js';
import { layoutsOfPatches } from './patch_crop.js';
import type { PatchOptions } from './patch_grid.js';
import {
  applyPatchWise,
  decodePatchWise,
  encodePatchWise,
  type PatchConditioning,
} from './patch_wise.js';

/**
 * A latent diffusion model. Its fields are named as the published checkpoints name their keys; of these only
 * `model_ema.*` is not here, see `loadLatentDiffusion`.
 *
 * The first stage is frozen, and so is the conditioner unless it is trainable: both stay in eval mode, and
 * nothing is recorded in them. With `numTimestepsCond` n > 1 the conditioning is noised as well, to n levels
 * that rise with t.
 */
export class LatentDiffusion extends Module<[Tensor, Tensor, NetworkConditioning?], Tensor> {
  readonly logvar: Tensor | null;
  readonly betas: Tensor;
  readonly alphas_cumprod: Tensor;
  readonly alphas_cumprod_prev: Tensor;
  readonly sqrt_alphas_cumprod: Tensor;
  readonly sqrt_one_minus_alphas_cumprod: Tensor;
  readonly log_one_minus_alphas_cumprod: Tensor;
  readonly sqrt_recip_alphas_cumprod: Tensor;
  readonly sqrt_recipm1_alphas_cumprod: Tensor;
  readonly posterior_variance: Tensor;
  readonly posterior_log_variance_clipped: Tensor;
  readonly posterior_mean_coef1: Tensor;
  readonly posterior_mean_coef2: Tensor;
  /** a scalar where it is measured, otherwise it is the spec's */
  readonly scale_factor: Tensor | null;
  readonly model: DiffusionWrapper;
  readonly first_stage_model: FirstStage;
  /** the first stage once more where that is the conditioner, or a part of it */
  readonly cond_stage_model: ConditionStage | null;
  readonly #diffusion: GaussianDiffusion;
  readonly #levels: ConditioningLevels | null;

  constructor(readonly spec: LatentDiffusionSpec) {
    super();
    checkLatentDiffusionSpec(spec);
    const { unet, firstStage, scaleFactor = 1, numTimestepsCond = 1 } = spec;
    this.#diffusion = new GaussianDiffusion(spec.diffusion);
    this.logvar = this.#diffusion.logvar;
    const { schedule } = this.#diffusion;
    const tables = schedule.buffers();
    const table = (name: string) => buffer(tensor(tables[name]));
    this.betas = table('betas');
    this.alphas_cumprod = table('alphas_cumprod');
    this.alphas_cumprod_prev = table('alphas_cumprod_prev');
    this.sqrt_alphas_cumprod = table('sqrt_alphas_cumprod');
    this.sqrt_one_minus_alphas_cumprod = table('sqrt_one_minus_alphas_cumprod');
    this.log_one_minus_alphas_cumprod = table('log_one_minus_alphas_cumprod');
    this.sqrt_recip_alphas_cumprod = table('sqrt_recip_alphas_cumprod');
    this.sqrt_recipm1_alphas_cumprod = table('sqrt_recipm1_alphas_cumprod');
    this.posterior_variance = table('posterior_variance');
    this.posterior_log_variance_clipped = table('posterior_log_variance_clipped');
    this.posterior_mean_coef1 = table('posterior_mean_coef1');
    this.posterior_mean_coef2 = table('posterior_mean_coef2');
    this.scale_factor = spec.scaleByStd ? buffer(tensor(scaleFactor)) : null;
    this.model = new DiffusionWrapper(unet, spec.conditioningKey ?? null);
    this.first_stage_model = buildFirstStage(firstStage);
    this.first_stage_model.requiresGrad_(false);
    this.cond_stage_model = buildConditionEncoder(this.conditioner, this.first_stage_model);
    if (!this.trainsConditioner) this.cond_stage_model?.requiresGrad_(false);
    this.#levels =
      numTimestepsCond > 1 ? new ConditioningLevels(this.#diffusion, numTimestepsCond) : null;
    this.train();
  }

  /** The process without the network: schedule, noising, formulas. */
  get diffusion(): GaussianDiffusion {
    return this.#diffusion;
  }

  /** What encodes conditions, as plain data. */
  get conditioner(): ConditionerSpec {
    return this.spec.conditioner ?? { kind: 'none' };
  }

  get trainsConditioner(): boolean {
    return this.spec.conditionerTrainable ?? false;
  }

  /** What the optimizer trains, in the original's order: network, conditioner if trainable, logvar if learned. */
  trainedParameters(): Tensor[] {
    const conditioner = this.trainsConditioner ? this.cond_stage_model!.parameters() : [];
    const frozen = new Set(this.first_stage_model.parameters());
    const own = conditioner.filter((x) => !frozen.has(x));
    return [...this.model.parameters(), ...own, ...(this.logvar ? [this.logvar] : [])];
  }

  /**
   * Images to the scaled latents that diffusion works on. No gradients are recorded.
   *
   * @param images [N, H, W, 3] in [-1, 1], sides divisible by f
   * @param noise of a KL model's posterior; its mode without
   * @returns [N, H/f, W/f, C]
   */
  encode(images: Tensor, noise?: Tensor | NoiseOptions): Tensor {
    return this.latentsOf({ images }, noise);
  }

  /** The scaled latents of a batch, as {@link encode}, encoded if they are not yet. */
  latentsOf(batch: DiffusionBatch, noise?: Tensor | NoiseOptions, patches?: PatchOptions): Tensor {
    return noGrad(() => tidy(() => this.#unscaled(batch, noise, patches).mul(this.#scale)));
  }

  /** Shape of a batch's latents, [N, h, w, C], without encoding it. */
  latentShape({ images, encoded }: DiffusionBatch): readonly number[] {
    if (encoded) return (encoded instanceof DiagonalGaussian ? encoded.mean : encoded).shape;
    const [N, H, W] = images!.shape;
    const f = this.first_stage_model.downsampling;
    return [N, H / f, W / f, this.spec.unet.outChannels];
  }

  /** Scaled latents to images [N, H, W, 3], about in [-1, 1]; a VQ model quantises first. */
  decode(latents: Tensor, patches?: PatchOptions): Tensor {
    const [stage, unscaled] = [this.first_stage_model, latents.div(this.#scale)];
    return patches?.patchDistributedVq
      ? decodePatchWise(stage, unscaled, patches)
      : stage.decodeLatents(unscaled);
  }

  /**
   * Codes of a VQ model to images: what becomes of the predictions of a network with `nEmbed` (the original's
   * `predict_cids`).
   *
   * @param codes indices [N, h, w], or logits [N, h, w, codes], of which the largest counts
   * @throws ArgumentError when there is no codebook
   */
  decodeCodes(codes: Tensor): Tensor {
    const indices = codes.rank === 4 ? argmax(codes, 3) : codes;
    checkShape(indices.rank === 3, () => {
      return `LatentDiffusion: codes are indices [N, h, w] or logits [N, h, w, codes]. Got [${codes.shape.join(', ')}].`;
    });
    const [N, h, w] = indices.shape;
    return this.#stageOfCodes.decodeCode(indices, [N, h, w]);
  }

  /** Scaled latents to the nearest codes of a VQ model. @throws ArgumentError when there is no codebook */
  quantize(latents: Tensor): Tensor {
    const { quantize } = this.#stageOfCodes;
    return quantize.toCodes(latents.div(this.#scale)).mul(this.#scale);
  }

  /**
   * Measures the scale on a first batch: 1/std of all of its unscaled latents (paper, section 4.3.2 and
   * appendix G).
   *
   * @returns the latents' standard deviation
   */
  async measureScale(batch: DiffusionBatch, noise?: Tensor | NoiseOptions): Promise<number> {
    check(this.scale_factor, () => {
      return 'LatentDiffusion: the scale is fixed; a model with scaleByStd measures it.';
    });
    const deviation = await noGrad(() => tidy(() => std(this.#unscaled(batch, noise)).item()));
    check(deviation > 0 && Number.isFinite(deviation), () => {
      return `LatentDiffusion: the scale cannot be measured: the latents' standard deviation is ${deviation}.`;
    });
    const measured = tensor(1 / deviation, { device: this.scale_factor.device });
    this.loadStateDict({ scale_factor: measured }, { strict: false });
    measured.dispose();
    return deviation;
  }

  /**
   * Encodes what is conditioned on, with gradients only where the conditioner is trained.
   *
   * @throws ArgumentError when the model has no conditioner for it
   */
  condition(input: ConditionInput): NetworkConditioning {
    if (this.trainsConditioner) return encodeCondition(this, input);
    return noGrad(() =>
      tidy(() => {
        // What is given is not to be disposed with what it gives.
        const encoded = Object.entries(encodeCondition(this, input)) as [string, Tensor][];
        return Object.fromEntries(encoded.map(([name, x]) => [name, x.alias()]));
      }),
    );
  }

  /** What guidance leads away from beside a condition; see {@link unconditionalCondition}. */
  unconditional(like: ConditionInput): ConditionInput {
    const { conditioningKey, unconditionalClass } = this.spec;
    if (conditioningKey !== 'adm') return unconditionalCondition(this.conditioner, like);
    check(unconditionalClass !== undefined, () => {
      return (
        'LatentDiffusion: no class of a network with numClasses stands for "none". Give unconditionalClass in the ' +
        "model's spec, or the unconditional input itself."
      );
    });
    return zerosLike(like as Tensor).add(unconditionalClass);
  }

  /**
   * The network's prediction for noisy latents [N, h, w, C] at timesteps [N]: the original's apply_model.
   *
   * @param patches the network sees one part of larger latents after the other
   */
  applyModel(
    x: Tensor,
    t: Tensor,
    conditioning?: PatchConditioning,
    patches?: PatchOptions,
  ): Tensor {
    const network = this.model.forward.bind(this.model);
    return patches
      ? applyPatchWise(network, x, t, conditioning ?? {}, patches)
      : network(x, t, conditioning as NetworkConditioning);
  }

  override forward(x: Tensor, t: Tensor, conditioning?: NetworkConditioning): Tensor {
    return this.applyModel(x, t, conditioning);
  }

  /**
   * The training loss (paper, equations 2 and 3).
   *
   * @param patches latents larger than the network is to see at once are cut; so are images, with `patchDistributedVq`
   * @returns log: `loss_simple`, `loss_vlb`, `loss`, and with a learned logvar `loss_gamma` and `logvar`; and
   *   the scaled latents' deviation as `latent_std`
   */
  loss(batch: DiffusionBatch, draws: LossDraws, patches?: PatchOptions): LatentDiffusionLoss {
    const { t, noise: epsilon } = draws;
    const latents = this.latentsOf(batch, draws.encoding, patches);
    const conditioning = patches?.cropTokens
      ? this.#layoutsOf(batch, draws.dropped, latents, patches)
      : this.#noised(this.#conditioningOf(batch, draws.dropped), t, draws);
    const { loss, lossSimple, lossVlb, lossGamma } = this.#diffusion.loss(
      (x, time) => this.applyModel(x, time, conditioning, patches),
      latents,
      t,
      epsilon,
    );
    const log: Record<string, Tensor> = { loss_simple: lossSimple, loss_vlb: lossVlb, loss };
    if (this.logvar) Object.assign(log, { loss_gamma: lossGamma, logvar: this.logvar.mean() });
    return { loss, log: { ...log, latent_std: noGrad(() => std(latents)) } };
  }

  /**
   * Samples latents and decodes them, without gradients.
   *
   * ```ts
   * const { images } = await model.sample({ condition: classes, guidance: 3, steps: 50, seed: [1, 2, 3] });
   * ```
   */
  sample(options: SampleOptions): Promise<LatentSamples> {
    return sampleLatents(this, options);
  }

  /** @internal Conditioning at the level of noise that belongs to t; itself without such levels. */
  noisedConditioning(c: NetworkConditioning, t: Tensor, key: NoiseOptions): NetworkConditioning {
    return this.#levels?.noised(c, t, key) ?? c;
  }

  /** Whether the first stage has codes, which {@link quantize} brings latents to. */
  get hasCodes(): boolean {
    return isOfCodes(this.first_stage_model);
  }

  /** Whether the conditioning is noised as well. */
  get hasNoisedConditioning(): boolean {
    return this.#levels !== null;
  }

  override train(mode = true): this {
    super.train(mode);
    if (mode) {
      this.first_stage_model.eval();
      if (!this.trainsConditioner) this.cond_stage_model?.eval();
    }
    return this;
  }

  override to(target: DType | Device | (string & {})): this {
    super.to(target);
    this.#diffusion.logvar = this.logvar;
    return this;
  }

  override dispose(): void {
    super.dispose();
    this.#diffusion.dispose();
  }

  get #stageOfCodes(): VQModel | VQModelInterface {
    const stage = this.first_stage_model;
    check(isOfCodes(stage), () => {
      return `LatentDiffusion: a first stage of kind ${this.spec.firstStage.kind} has no codes.`;
    });
    return stage;
  }

  get #scale(): Tensor | number {
    return this.scale_factor ?? this.spec.scaleFactor ?? 1;
  }

  #unscaled(
    { images, encoded }: DiffusionBatch,
    noise?: Tensor | NoiseOptions,
    patches?: PatchOptions,
  ): Tensor {
    check((images === undefined) !== (encoded === undefined), () => {
      return 'LatentDiffusion: a batch has either images or what the first stage made of them.';
    });
    const stage = this.first_stage_model;
    if (images && patches?.patchDistributedVq)
      return encodePatchWise(stage, images, patches, noise);
    if (images) return stage.encodeToLatents(images, noise);
    if (!(encoded instanceof DiagonalGaussian)) return encoded!;
    return noise ? encoded.sample(noise) : encoded.mode();
  }

  #conditioningOf(batch: DiffusionBatch, dropped?: Tensor): NetworkConditioning {
    const { condition, conditioning } = batch;
    check(condition === undefined || conditioning === undefined, () => {
      return 'LatentDiffusion: a batch has either a condition or the encoded conditioning.';
    });
    if (condition === undefined) {
      check(!dropped, () => 'LatentDiffusion: there is no condition that could be dropped.');
      return conditioning ?? {};
    }
    return this.condition(this.#dropped(condition, dropped));
  }

  #layoutsOf(
    { condition }: DiffusionBatch,
    dropped: Tensor | undefined,
    latents: Tensor,
    patches: PatchOptions,
  ) {
    const given = condition && this.#dropped(condition, dropped);
    const [, h, w] = latents.shape;
    return layoutsOfPatches(this.conditioner, given, [h, w], patches, (x) => this.condition(x));
  }

  #dropped(condition: ConditionInput, dropped?: Tensor): ConditionInput {
    return dropped ? dropCondition(condition, this.unconditional(condition), dropped) : condition;
  }

  #noised(conditioning: NetworkConditioning, t: Tensor, draws: LossDraws): NetworkConditioning {
    if (!this.#levels) return conditioning;
    check(draws.conditioning, () => {
      return 'LatentDiffusion: with numTimestepsCond above 1 a loss needs noise for the conditioning.';
    });
    return this.noisedConditioning(conditioning, t, draws.conditioning);
  }
}

const isOfCodes = (stage: FirstStage): stage is VQModel | VQModelInterface =>
  stage instanceof VQModel || stage instanceof VQModelInterface;

/** Builds a model with fresh weights. @throws ArgumentError that names what is wrong in the spec */
export function buildLatentDiffusion(spec: LatentDiffusionSpec): LatentDiffusion {
  return new LatentDiffusion(spec);
}
