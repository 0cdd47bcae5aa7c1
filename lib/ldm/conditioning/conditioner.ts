/** The encoders τ of what a diffusion model is conditioned on (paper, section 3.3), as plain data and as modules. */
import { ArgumentError, check } from '../../errors.js';
import type { Module } from '../../nn/index.js';
import type { Tensor } from '../../tensor.js';
import type { FirstStage } from '../first_stage/index.js';
import { checkOptions, flag, group, integer, number, type Rules } from '../rules.js';
import { BertEmbedder, type BertEmbedderConfig } from './bert_embedder.js';
import { ClassEmbedder, type ClassEmbedderConfig } from './class_embedder.js';
import { HybridConditioner } from './hybrid_conditioner.js';
import {
  clipTextEncoderConfig,
  ClipTextEncoder,
  type ClipTextEncoderConfig,
} from './text/clip_text_encoder.js';
import {
  checkSpatialRescalerConfig,
  SpatialRescaler,
  type SpatialRescalerConfig,
} from './spatial_rescaler.js';

/** An encoder with weights of its own. */
export type EncoderSpec =
  | ({ kind: 'class' } & ClassEmbedderConfig)
  | ({ kind: 'bert' } & BertEmbedderConfig)
  | ({ kind: 'clip' } & ClipTextEncoderConfig)
  | ({ kind: 'spatial-rescaler' } & SpatialRescalerConfig);

/** What may encode one part of a conditioning. */
export type PartSpec =
  | EncoderSpec
  /** what is given is the conditioning itself: a low-resolution image, embeddings of another network */
  | { kind: 'identity' }
  /** the diffusion model's own first stage, whose latents are neither quantised nor scaled */
  | { kind: 'first-stage' };

/**
 * The mask and, behind it, the masked picture as the diffusion model's own scaled latents: what Stable Diffusion's
 * models for inpainting join. No conditioner has a part in it, so `cond_stage_model` is that of the tokens.
 */
export interface MaskedLatentsSpec {
  kind: 'masked-latents';
}

/** A conditioner for the map that is joined to the latents, and one for the tokens that are attended to. */
export interface HybridSpec {
  kind: 'hybrid';
  concat: PartSpec | MaskedLatentsSpec;
  crossattn: PartSpec;
}

/** A conditioner as plain data. */
export type ConditionerSpec = PartSpec | HybridSpec | { kind: 'none' };

/** What encodes class ids [N], token ids [N, T] or maps [N, H, W, C]. */
export type ConditionEncoder = Module<[Tensor], Tensor>;

/** The module of a conditioner, whatever its kind. */
export type ConditionStage = ConditionEncoder | FirstStage | HybridConditioner;

const classRules: Rules<Required<ClassEmbedderConfig>> = {
  embedDim: integer(1, 65_536),
  nClasses: integer(1, 2 ** 24),
  unconditionalClass: integer(0, 2 ** 24),
};

const bertRules: Rules<Required<BertEmbedderConfig>> = {
  nEmbed: integer(1, 65_536),
  nLayer: integer(0, 256),
  vocabSize: integer(1, 2 ** 24),
  maxSeqLen: integer(1, 2 ** 20),
  useTokenizer: flag,
  embeddingDropout: number(0, 1),
  unconditionalToken: integer(0, 2 ** 24),
};

const hybridRules: Rules<Omit<HybridSpec, 'kind'>> = { concat: group, crossattn: group };
const mapKinds: readonly string[] = [
  'spatial-rescaler',
  'identity',
  'first-stage',
  'masked-latents',
];

/** Checks a spec from outside. @throws ArgumentError that names what is wrong in it */
export function checkConditionerSpec(spec: unknown): asserts spec is ConditionerSpec {
  const { kind, ...config } = (spec ?? {}) as { kind?: unknown };
  switch (kind) {
    case 'class': {
      const what = 'ClassEmbedder';
      checkOptions<ClassEmbedderConfig>(what, config, classRules, ['embedDim']);
      const { nClasses = 1000, unconditionalClass = 0 } = config;
      return check(unconditionalClass < nClasses, () => {
        return `${what}: unconditionalClass must be below nClasses (${nClasses}). Got ${unconditionalClass}.`;
      });
    }
    case 'bert': {
      const what = 'BertEmbedder';
      checkOptions<BertEmbedderConfig>(what, config, bertRules, ['nEmbed', 'nLayer']);
      const { vocabSize = 30522, unconditionalToken = 0 } = config;
      return check(unconditionalToken < vocabSize, () => {
        return `${what}: unconditionalToken must be below vocabSize (${vocabSize}). Got ${unconditionalToken}.`;
      });
    }
    case 'clip':
      return void clipTextEncoderConfig(config);
    case 'spatial-rescaler':
      return checkSpatialRescalerConfig(config);
    case 'identity':
    case 'first-stage':
    case 'none':
      return checkOptions<object>(`conditioner ${kind}`, config, {}, []);
    case 'hybrid':
      checkOptions<Omit<HybridSpec, 'kind'>>('conditioner hybrid', config, hybridRules, [
        'concat',
        'crossattn',
      ]);
      if (!isMaskedLatents(config.concat)) checkConditionerSpec(config.concat);
      checkConditionerSpec(config.crossattn);
      return checkParts(config);
    default:
      throw new ArgumentError(
        'conditioner: kind must be one of class, bert, clip, spatial-rescaler, identity, first-stage, hybrid, none. ' +
          `Got '${String(kind)}'.`,
      );
  }
}

function isMaskedLatents(spec: { kind?: unknown }): boolean {
  const { kind, ...config } = spec;
  if (kind !== 'masked-latents') return false;
  checkOptions<object>(`conditioner ${kind}`, config, {}, []);
  return true;
}

function checkParts({ concat, crossattn }: Omit<HybridSpec, 'kind'>): void {
  check(mapKinds.includes(concat.kind), () => {
    return `conditioner hybrid: concat must be one of ${mapKinds.join(', ')}, which give maps. Got '${concat.kind}'.`;
  });
  // none and hybrid are no parts, whatever the types say of data from outside
  const noTokens = ['spatial-rescaler', 'first-stage', 'hybrid', 'none'];
  check(!noTokens.includes(crossattn.kind), () => {
    return `conditioner hybrid: crossattn must give tokens, which no conditioner of kind ${crossattn.kind} does.`;
  });
}

/** Whether a conditioner has weights of its own, which can be trained. */
export function hasOwnWeights(spec: ConditionerSpec | MaskedLatentsSpec): boolean {
  if (spec.kind === 'hybrid') return hasOwnWeights(spec.concat) || hasOwnWeights(spec.crossattn);
  return !['none', 'identity', 'first-stage', 'masked-latents'].includes(spec.kind);
}

/**
 * Builds a conditioner with fresh weights; null where the spec has none of its own.
 * @param firstStage stands where the spec says 'first-stage'
 */
export function buildConditionEncoder(
  spec: ConditionerSpec,
  firstStage: FirstStage | null = null,
): ConditionStage | null {
  checkConditionerSpec(spec);
  if (spec.kind !== 'hybrid') return buildPart(spec, firstStage);
  const { concat, crossattn } = spec;
  const attended = buildPart(crossattn, firstStage) as ConditionEncoder | null;
  return concat.kind === 'masked-latents'
    ? attended
    : new HybridConditioner({ concat, crossattn }, buildPart(concat, firstStage), attended);
}

function buildPart(
  spec: Exclude<ConditionerSpec, HybridSpec>,
  firstStage: FirstStage | null,
): ConditionEncoder | FirstStage | null {
  const { kind, ...config } = spec;
  switch (kind) {
    case 'class':
      return new ClassEmbedder(config as ClassEmbedderConfig);
    case 'bert':
      return new BertEmbedder(config as BertEmbedderConfig);
    case 'clip':
      return new ClipTextEncoder(config as ClipTextEncoderConfig);
    case 'spatial-rescaler':
      return new SpatialRescaler(config as SpatialRescalerConfig);
    case 'first-stage':
      return firstStage;
    default:
      return null;
  }
}

/** @internal */
export const withoutKind = <T extends { kind: string }>({
  kind: _,
  ...config
}: T): Omit<T, 'kind'> => config;

/** What a conditioner that reads texts wants of a tokenizer. */
export interface TextInput {
  readonly kind: 'bert' | 'clip';
  /** most ids of a text */
  readonly length: number;
  /** number of different ids */
  readonly vocabSize: number;
}

/** How a conditioner takes texts, a hybrid one for its tokens; null where it takes something else. */
export function textInputOf(spec: ConditionerSpec | undefined): TextInput | null {
  switch (spec?.kind) {
    case 'bert': {
      const { maxSeqLen: length = 77, vocabSize = 30_522, useTokenizer = true } = spec;
      return useTokenizer ? { kind: 'bert', length, vocabSize } : null;
    }
    case 'clip': {
      const { maxSeqLen: length, vocabSize } = clipTextEncoderConfig(withoutKind(spec));
      return { kind: 'clip', length, vocabSize };
    }
    case 'hybrid':
      return textInputOf(spec.crossattn);
    default:
      return null;
  }
}
