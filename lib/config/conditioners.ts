// The original's encoders of conditioning as targets, and the two texts that may stand for one.
import {
  buildConditionEncoder,
  checkConditionerSpec,
  type ConditionerSpec,
  type ConditionStage,
  type PartSpec,
} from '../ldm/index.js';
import { ConfigError } from './error.js';
import {
  boolean,
  convert,
  integer,
  mapping,
  number,
  oneOf,
  optional,
  text,
  type Field,
  type FieldsOf,
} from './fields.js';
import { Targets } from './targets.js';

/** What may stand as `cond_stage_config`. Building gives null where there are no weights. */
export const conditionerTargets = new Targets<ConditionerSpec, ConditionStage | null>(
  'a conditioner',
);

const count = integer({ min: 1 });

type Specs = { [Spec in ConditionerSpec as Spec['kind']]: Omit<Spec, 'kind'> };

function register<K extends keyof Specs>(
  names: readonly string[],
  fields: FieldsOf<Specs[K]>,
  toSpec: (params: Specs[K]) => ConditionerSpec,
  accepted: readonly string[],
): void {
  const params = checked(mapping<Specs[K]>(fields, accepted), toSpec);
  conditionerTargets.register(names, { params, build: (spec) => buildConditionEncoder(spec) });
}

// What the conditioner itself refuses is told with its place.
const checked = <Params>(
  field: Field<Params>,
  toSpec: (params: Params) => ConditionerSpec,
): Field<ConditionerSpec> =>
  convert(field, (given, node) => {
    const spec = toSpec(given);
    try {
      checkConditionerSpec(spec);
    } catch (error) {
      throw new ConfigError((error as Error).message, node.place, { cause: error });
    }
    return spec;
  });

const modules = (name: string) => [`ldm.modules.encoders.modules.${name}`, `emulsion.${name}`];

register<'class'>(
  modules('ClassEmbedder'),
  {
    embed_dim: count,
    n_classes: optional(count),
    unconditional_class: optional(integer({ min: 0 })),
  },
  (config) => ({ kind: 'class', ...config }),
  // where a batch keeps its classes: the loader has one place for them
  ['key'],
);

const bert: FieldsOf<Specs['bert']> = {
  n_embed: count,
  n_layer: integer({ min: 0 }),
  vocab_size: optional(count),
  max_seq_len: optional(count),
  use_tokenizer: optional(boolean),
  embedding_dropout: optional(number({ min: 0, max: 1 })),
  unconditional_token: optional(integer({ min: 0 })),
};

register<'bert'>(modules('BERTEmbedder'), bert, (config) => ({ kind: 'bert', ...config }), [
  'device',
]);
register<'bert'>(
  modules('TransformerEmbedder'),
  { ...bert, vocab_size: count, use_tokenizer: optional(boolean, false) },
  (config) => ({ kind: 'bert', ...config }),
  ['device'],
);

const clip: FieldsOf<Specs['clip']> = {
  n_embed: optional(count),
  n_layer: optional(integer({ min: 0 })),
  n_head: optional(count),
  vocab_size: optional(count),
  max_seq_len: optional(count),
};

register<'clip'>(['emulsion.ClipTextEncoder'], clip, (config) => ({ kind: 'clip', ...config }), []);
conditionerTargets.register(['ldm.modules.encoders.modules.FrozenCLIPEmbedder'], {
  params: convert(
    mapping<{ version?: string; maxLength?: number }>(
      { version: optional(oneOf('openai/clip-vit-large-patch14')), max_length: optional(count) },
      ['device'],
    ),
    ({ maxLength }): ConditionerSpec => ({
      kind: 'clip',
      ...(maxLength !== undefined && { maxSeqLen: maxLength }),
    }),
  ),
  build: buildConditionEncoder,
});

register<'spatial-rescaler'>(
  modules('SpatialRescaler'),
  {
    n_stages: optional(integer({ min: 0 })),
    method: optional(oneOf('nearest', 'bilinear', 'bicubic', 'area')),
    multiplier: optional(number({ min: 0 })),
    in_channels: optional(count),
    out_channels: optional(count),
    bias: optional(boolean),
  },
  (config) => ({ kind: 'spatial-rescaler', ...config }),
  [],
);

conditionerTargets.register(['torch.nn.Identity'], {
  // Its arguments mean nothing, and published files give some.
  params: { read: () => ({ kind: 'identity' as const }) },
  build: (spec) => buildConditionEncoder(spec),
});

const words: Readonly<Record<string, ConditionerSpec>> = {
  __is_first_stage__: { kind: 'first-stage' },
  __is_unconditional__: { kind: 'none' },
};

/** A target, or one of the texts `__is_first_stage__` and `__is_unconditional__`. */
export const conditionerField: Field<ConditionerSpec> = {
  read(node, name) {
    if (node.kind === 'mapping') return conditionerTargets.read(node, name).spec;
    const word = text.read(node, name);
    if (!Object.hasOwn(words, word))
      throw new ConfigError(
        `${name} must be a target, or one of ${Object.keys(words).join(' and ')}, got '${word}'.`,
        node.place,
      );
    return words[word];
  },
};

/** Its parts are read as conditioners of their own; which kinds may be parts, the check says. */
interface HybridParams {
  cConcatConfig: ConditionerSpec;
  cCrossattnConfig: ConditionerSpec;
}

conditionerTargets.register(
  ['ldm.modules.diffusionmodules.util.HybridConditioner', 'emulsion.HybridConditioner'],
  {
    params: checked(
      mapping<HybridParams>({
        c_concat_config: conditionerField,
        c_crossattn_config: conditionerField,
      }),
      ({ cConcatConfig, cCrossattnConfig }) => ({
        kind: 'hybrid',
        concat: cConcatConfig as PartSpec,
        crossattn: cCrossattnConfig as PartSpec,
      }),
    ),
    build: (spec) => buildConditionEncoder(spec),
  },
);
