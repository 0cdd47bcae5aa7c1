/** The encoders τ of what a diffusion model is conditioned on (paper, section 3.3), as plain data and as modules. */
import { ArgumentError, check } from '../../errors.js';
import { tensor, zerosLike } from '../../creation.js';
import type { Module } from '../../nn/index.js';
import type { Tensor } from '../../tensor.js';
import { checkOptions, flag, integer, number, type Rules } from '../rules.js';
import { BertEmbedder, type BertEmbedderConfig } from './bert_embedder.js';
import { ClassEmbedder, type ClassEmbedderConfig } from './class_embedder.js';
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

/** A conditioner as plain data. */
export type ConditionerSpec =
  | EncoderSpec
  /** what is given is the conditioning itself: a low-resolution image, embeddings of another network */
  | { kind: 'identity' }
  /** the diffusion model's own first stage, whose latents are neither quantised nor scaled */
  | { kind: 'first-stage' }
  | { kind: 'none' };

/** What encodes class ids [N], token ids [N, T] or maps [N, H, W, C]. */
export type ConditionEncoder = Module<[Tensor], Tensor>;

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
};

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
    case 'bert':
      return checkOptions<BertEmbedderConfig>('BertEmbedder', config, bertRules, [
        'nEmbed',
        'nLayer',
      ]);
    case 'clip':
      return void clipTextEncoderConfig(config);
    case 'spatial-rescaler':
      return checkSpatialRescalerConfig(config);
    case 'identity':
    case 'first-stage':
    case 'none':
      return checkOptions<object>(`conditioner ${kind}`, config, {}, []);
    default:
      throw new ArgumentError(
        'conditioner: kind must be one of class, bert, clip, spatial-rescaler, identity, first-stage, none. ' +
          `Got '${String(kind)}'.`,
      );
  }
}

/** Builds an encoder with fresh weights; null where the spec has none of its own. */
export function buildConditionEncoder(spec: ConditionerSpec): ConditionEncoder | null {
  checkConditionerSpec(spec);
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
    default:
      return null;
  }
}

// Of bert-base-uncased, which reads "" as a beginning, an end and padding.
const emptyCaption = [101, 102];

/**
 * What stands for "nothing" beside a given input, of its shape: the class that means none, the empty caption,
 * or zeros where embeddings are given.
 *
 * @throws ArgumentError when the conditioner has no such input
 */
export function unconditionalInput(spec: ConditionerSpec, like: Tensor): Tensor {
  switch (spec.kind) {
    case 'class': {
      const none = spec.unconditionalClass;
      check(none !== undefined, () => {
        return (
          'conditioner: no class of the embedder means "none". Give unconditionalClass in its spec (ImageNet ' +
          'with 1001 classes has 1000), or the unconditional input itself.'
        );
      });
      return zerosLike(like).add(none);
    }
    case 'bert': {
      const { useTokenizer = true } = spec;
      check(useTokenizer, () => {
        return 'conditioner: tokens that are no captions have no empty form. Give the unconditional input itself.';
      });
      return everywhere(like, (i) => emptyCaption[i] ?? 0);
    }
    case 'clip': {
      const { vocabSize } = clipTextEncoderConfig(withoutKind(spec));
      // a beginning, then nothing but ends
      return everywhere(like, (i) => vocabSize - (i === 0 ? 2 : 1));
    }
    case 'identity':
      return zerosLike(like);
    default:
      throw new ArgumentError(
        `conditioner: nothing stands for "none" with a conditioner of kind ${spec.kind}. Give the ` +
          'unconditional input itself.',
      );
  }
}

// The same row of ids for each of a batch.
function everywhere(like: Tensor, idAt: (position: number) => number): Tensor {
  const ids = Array.from({ length: like.shape[1] }, (_, i) => idAt(i));
  return zerosLike(like).add(tensor(ids, { dtype: like.dtype, device: like.device }));
}

const withoutKind = <T extends { kind: string }>({ kind: _, ...config }: T): Omit<T, 'kind'> =>
  config;

/** What a conditioner that reads texts wants of a tokenizer. */
export interface TextInput {
  readonly kind: 'bert' | 'clip';
  /** most ids of a text */
  readonly length: number;
  /** number of different ids */
  readonly vocabSize: number;
}

/** How a conditioner takes texts; null where it takes something else. */
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
    default:
      return null;
  }
}
