// Layouts in, pictures out: what the model is given, and what is refused.
import { describe, expect, it, vi } from 'vitest';
import {
  layoutToImage,
  layoutVocabulary,
  type LatentDiffusionSpec,
  type LayoutToImageOptions,
  type Tensor,
} from '../../../lib/index.js';
import { tinySpec, values, withModel } from '../tiny_diffusion.js';

const bert = {
  kind: 'bert',
  nEmbed: 6,
  nLayer: 1,
  vocabSize: 104,
  maxSeqLen: 8,
  useTokenizer: false,
} as const;
const layoutSpec = (changed: object = {}): LatentDiffusionSpec =>
  tinySpec({ conditioner: { ...bert, ...changed } });

const categories = ['dog', 'ball', 'tree'];
const dog = { category: 'dog', x: 0.25, y: 0.5, width: 0.5, height: 0.5 };
const options = { boxes: [dog], categories, steps: 2, seed: 1 };

describe('layoutToImage', () => {
  it('gives the model the tokens of the layout, for every sample', () =>
    withModel(layoutSpec(), async (model) => {
      const sample = vi.spyOn(model, 'sample');
      const { images } = await layoutToImage(model, { ...options, count: 2, seed: [1, 2] });
      expect(images!.shape).toEqual([2, 16, 16, 3]);
      const [{ condition }] = sample.mock.calls[0];
      expect((condition as Tensor).shape).toEqual([2, 8]);
      const tokens = layoutVocabulary(model.conditioner, 3);
      expect([tokens.maxObjects, tokens.encodesCrop, tokens.sections]).toEqual([2, true, 10]);
      const moved = await layoutToImage(model, { ...options, boxes: [{ ...dog, x: 0 }] });
      const first = await layoutToImage(model, options);
      expect(await values(moved.latents)).not.toEqual(await values(first.latents));
    }));

  it('guides away from a picture without objects, unless a token means none', async () => {
    const guided = async (changed: object) => {
      let given: number[] | undefined;
      await withModel(layoutSpec(changed), async (model) => {
        vi.spyOn(model, 'sample').mockImplementation(async ({ condition, unconditional }) => {
          given = unconditional && Array.from(await (unconditional as Tensor).data(), Number);
          return { latents: condition as Tensor, images: null };
        });
        await layoutToImage(model, { ...options, guidance: 2 });
      });
      return given;
    };
    expect(await guided({})).toEqual([103, 103, 103, 103, 103, 103, 0, 99]);
    expect(await guided({ unconditionalToken: 7 })).toBeUndefined();
  });

  const wrong = (changed: Partial<LayoutToImageOptions>) => ({ ...options, ...changed });
  it.each<[string, Partial<LayoutToImageOptions>]>([
    [
      "there is no class 'bal': expected an id from 0 to 2, or one of dog; ball; tree. Did you mean 'ball'?",
      { boxes: [dog, { ...dog, category: 'bal' }] },
    ],
    ["there is no class 'submarine'", { boxes: [{ ...dog, category: 'submarine' }] }],
    ["there is no class '3'", { boxes: [{ ...dog, category: 3 }] }],
    ['box 0 (dog) must lie in the picture', { boxes: [{ ...dog, x: 0.6 }] }],
    ['box 0 (dog) must lie in the picture', { boxes: [{ ...dog, y: -0.1 }] }],
    ['box 0 (dog) must lie in the picture', { boxes: [{ ...dog, width: NaN }] }],
    ['and have an area', { boxes: [{ ...dog, height: 0 }] }],
    ['places for 2 objects. Got 3 boxes', { boxes: [dog, dog, dog] }],
  ])('refuses: %s', (message, changed) =>
    withModel(layoutSpec(), async (model) => {
      await expect((async () => layoutToImage(model, wrong(changed)))()).rejects.toThrow(message);
    }),
  );

  it('refuses models of other things', () => {
    expect(() => layoutVocabulary({ kind: 'class', embedDim: 3 }, 3)).toThrow('is of kind class');
    expect(() => layoutVocabulary({ kind: 'bert', nEmbed: 8, nLayer: 1 }, 3)).toThrow(
      'for captions',
    );
    expect(() => layoutVocabulary({ ...bert, maxSeqLen: 7 }, 3)).toThrow(
      '7 tokens, which is no length',
    );
  });
});
