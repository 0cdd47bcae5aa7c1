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
      const { images } = await layoutToImage(model, { ...options, seed: [1, 2] });
      expect(images!.shape).toEqual([2, 16, 16, 3]);
      const [{ condition, unconditional }] = sample.mock.calls[0];
      expect(unconditional).toBeUndefined();
      expect((condition as Tensor).shape).toEqual([2, 8]);
      const tokens = layoutVocabulary(model.conditioner, 3);
      expect([tokens.maxObjects, tokens.encodesCrop, tokens.sections]).toEqual([2, true, 10]);
      const [alone] = [await layoutToImage(model, { ...options, seed: 2 })];
      expect(await values(alone.latents)).toHaveLength(8 * 8 * 3);
      const moved = await layoutToImage(model, { ...options, boxes: [{ ...dog, x: 0 }] });
      const first = await layoutToImage(model, options);
      expect(await values(moved.latents)).not.toEqual(await values(first.latents));
    }));

  it.each<[string, object, number[]]>([
    ['no objects', {}, [103, 103, 103, 103, 103, 103, 0, 99]],
    ['the token that means none', { unconditionalToken: 7 }, Array<number>(8).fill(7)],
  ])('guides away from %s', (_, changed, expected) =>
    withModel(layoutSpec(changed), async (model) => {
      const sample = vi.spyOn(model, 'sample');
      const seen: number[] = [];
      sample.mockImplementation(async ({ unconditional }) => {
        seen.push(...Array.from(await (unconditional as Tensor).data(), Number));
        return { latents: unconditional as Tensor, images: null };
      });
      await layoutToImage(model, { ...options, guidance: 2 });
      expect(seen).toEqual(expected);
    }),
  );

  const wrong = (changed: Partial<LayoutToImageOptions>) => ({ ...options, ...changed });
  it.each<[string, Partial<LayoutToImageOptions>]>([
    [
      "box 1: there is no category 'bal'. Did you mean 'ball'?",
      { boxes: [dog, { ...dog, category: 'bal' }] },
    ],
    [
      "no category 'submarine'. There are dog, ball, tree.",
      { boxes: [{ ...dog, category: 'submarine' }] },
    ],
    ['numbered from 0 to 2. Got 3', { boxes: [{ ...dog, category: 3 }] }],
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
