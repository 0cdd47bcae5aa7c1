/** Every tensor of a conditioner by its shape, without building any. */
import { below, linear, norm, type Shapes } from '../shapes.js';
import { firstStageShapes, type FirstStageSpec } from '../first_stage/index.js';
import type { BertEmbedderConfig } from './bert_embedder.js';
import {
  checkConditionerSpec,
  withoutKind,
  type ConditionerSpec,
  type HybridSpec,
} from './conditioner.js';
import { clipTextEncoderConfig, type ClipTextEncoderConfig } from './text/clip_text_encoder.js';

/**
 * Shape of every tensor in files, by key.
 * @param firstStage stands where the spec says 'first-stage'
 * @throws ArgumentError that names what is wrong in the spec
 */
export function conditionerShapes(
  spec: ConditionerSpec,
  firstStage: FirstStageSpec,
): Map<string, readonly number[]> {
  checkConditionerSpec(spec);
  const part = (each: Exclude<ConditionerSpec, HybridSpec>): Shapes => {
    switch (each.kind) {
      case 'class':
        return { 'embedding.weight': [each.nClasses ?? 1000, each.embedDim] };
      case 'bert':
        return below('transformer.', bert(each));
      case 'clip':
        return below('transformer.text_model.', clip(clipTextEncoderConfig(withoutKind(each))));
      case 'spatial-rescaler': {
        const { inChannels = 3, outChannels, bias = false } = each;
        if (outChannels === undefined) return {};
        return {
          'channel_mapper.weight': [outChannels, inChannels, 1, 1],
          ...(bias && { 'channel_mapper.bias': [outChannels] }),
        };
      }
      case 'first-stage':
        return Object.fromEntries(firstStageShapes(firstStage));
      default:
        return {};
    }
  };
  return new Map(Object.entries(spec.kind === 'hybrid' ? hybrid(spec, part) : part(spec)));
}

const hybrid = (
  { concat, crossattn }: HybridSpec,
  part: (spec: HybridSpec['crossattn']) => Shapes,
): Shapes =>
  concat.kind === 'masked-latents'
    ? part(crossattn)
    : {
        ...below('concat_conditioner.', part(concat)),
        ...below('crossattn_conditioner.', part(crossattn)),
      };

function bert({ nEmbed, nLayer, vocabSize = 30_522, maxSeqLen = 77 }: BertEmbedderConfig): Shapes {
  const inner = 8 * 64; // whatever the width
  const shapes: Shapes = {
    'token_emb.weight': [vocabSize, nEmbed],
    'pos_emb.emb.weight': [maxSeqLen, nEmbed],
  };
  for (let i = 0; i < nLayer; i++) {
    const [attention, feedForward] = [2 * i, 2 * i + 1].map((n) => `attn_layers.layers.${n}`);
    Object.assign(shapes, {
      ...norm(`${attention}.0`, nEmbed),
      [`${attention}.1.to_q.weight`]: [inner, nEmbed],
      [`${attention}.1.to_k.weight`]: [inner, nEmbed],
      [`${attention}.1.to_v.weight`]: [inner, nEmbed],
      ...linear(`${attention}.1.to_out`, nEmbed, inner),
      ...norm(`${feedForward}.0`, nEmbed),
      ...linear(`${feedForward}.1.net.0.0`, 4 * nEmbed, nEmbed),
      ...linear(`${feedForward}.1.net.2`, nEmbed, 4 * nEmbed),
    });
  }
  return { ...shapes, ...norm('norm', nEmbed), ...linear('to_logits', vocabSize, nEmbed) };
}

function clip(config: Required<ClipTextEncoderConfig>): Shapes {
  const { nEmbed, nLayer, vocabSize, maxSeqLen } = config;
  const layer: Shapes = {
    ...linear('self_attn.k_proj', nEmbed, nEmbed),
    ...linear('self_attn.v_proj', nEmbed, nEmbed),
    ...linear('self_attn.q_proj', nEmbed, nEmbed),
    ...linear('self_attn.out_proj', nEmbed, nEmbed),
    ...norm('layer_norm1', nEmbed),
    ...linear('mlp.fc1', 4 * nEmbed, nEmbed),
    ...linear('mlp.fc2', nEmbed, 4 * nEmbed),
    ...norm('layer_norm2', nEmbed),
  };
  const layers = Array.from({ length: nLayer }, (_, i) => below(`encoder.layers.${i}.`, layer));
  return Object.assign(
    {
      'embeddings.token_embedding.weight': [vocabSize, nEmbed],
      'embeddings.position_embedding.weight': [maxSeqLen, nEmbed],
    },
    ...layers,
    norm('final_layer_norm', nEmbed),
  ) as Shapes;
}
