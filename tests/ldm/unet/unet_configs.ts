// Small networks of each kind that there is.
import type { UNetConfig } from '../../../lib/index.js';

const small = { inChannels: 3, outChannels: 3, modelChannels: 8, numResBlocks: 1, normGroups: 4 };

export const unetConfigs = {
  celeba: {
    ...small,
    imageSize: 16,
    attentionResolutions: [2, 4],
    channelMult: [1, 2, 3],
    numHeadChannels: 4,
    numResBlocks: 2,
  },
  churches: {
    ...small,
    imageSize: 8,
    attentionResolutions: [2],
    channelMult: [1, 2, 2],
    numHeads: 2,
    useScaleShiftNorm: true,
    resblockUpdown: true,
  },
  'new attention order, attention at the last level only, classes': {
    ...small,
    outChannels: 5,
    attentionResolutions: [2],
    channelMult: [1, 3],
    numHeads: 3,
    numClasses: 7,
    useNewAttentionOrder: true,
  },
  'attention in the middle only': {
    ...small,
    attentionResolutions: [32],
    channelMult: [1, 4],
    numHeads: 1,
  },
  text: {
    ...small,
    imageSize: 8,
    inChannels: 4,
    outChannels: 4,
    attentionResolutions: [1, 2],
    channelMult: [1, 2, 2],
    numHeads: 2,
    useSpatialTransformer: true,
    contextDim: 12,
  },
  'classes as a context, depth 2': {
    ...small,
    attentionResolutions: [2],
    channelMult: [1, 2],
    numHeadChannels: 8,
    useSpatialTransformer: true,
    transformerDepth: 2,
    contextDim: 6,
  },
} satisfies Record<string, UNetConfig>;
