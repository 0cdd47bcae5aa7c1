// Inpainting as asked: by a text or a class, with a model that also sees the masked picture or is led by what is known.
import { describe, expect, test, vi } from 'vitest';
import {
  inpaint,
  inpaintingMode,
  prepareInpainting,
  tensor,
  TextTokenizer,
  textToImage,
  uniformNoise,
  type ConditionerSpec,
  type ConditionInput,
  type HybridInput,
  type HybridSpec,
  type InpaintOptions,
  type LatentDiffusion,
  type LatentDiffusionSpec,
  type MaskedImage,
  type Tensor,
} from '../../../lib/index.js';
import { int64, plainSpec, tinySpec, values, withModel } from '../tiny_diffusion.js';

const tokenizer = TextTokenizer.fromTexts(['a red fox', 'blue hen'], { length: 6 });
const bert = {
  kind: 'bert',
  nEmbed: 6,
  nLayer: 1,
  vocabSize: tokenizer.vocabSize,
  maxSeqLen: 6,
} as const satisfies ConditionerSpec;

/** As Stable Diffusion's for inpainting: the masked picture is joined, a text attended to. */
const hybridSpec = (
  crossattn: HybridSpec['crossattn'] = bert,
  concat: HybridSpec['concat'] = { kind: 'first-stage' },
) =>
  tinySpec({
    unet: { ...tinySpec().unet, inChannels: 7 },
    conditioner: { kind: 'hybrid', concat, crossattn },
    conditioningKey: 'hybrid',
  });
const admSpec = (changed: Partial<LatentDiffusionSpec> = {}): LatentDiffusionSpec => ({
  ...plainSpec({ conditioner: { kind: 'identity' }, conditioningKey: 'adm', ...changed }),
  unet: { ...plainSpec().unet, numClasses: 5 },
});

const [N, H, W] = [2, 13, 18];
const image = () => uniformNoise([N, H, W, 3], { seed: 8 }).mul(2).sub(1);
const isHole = Array.from({ length: H * W }, (_, i) => i % W > 6 && i < 9 * W);
const mask = () => tensor(Float32Array.from(isHole, Number), { shape: [1, H, W, 1] });
const brief = { steps: 3, seed: [1, 2] } as const;

const fill = async (model: LatentDiffusion, options: Partial<InpaintOptions>) =>
  values(await inpaint(model, { image: image(), mask: mask(), ...brief, ...options }));

const ids = async (input?: ConditionInput): Promise<number[] | undefined> => {
  const tokens = ((input as Partial<HybridInput> | undefined)?.crossattn ?? input) as
    Tensor | undefined;
  return tokens && Array.from(await tokens.data(), Number);
};

/** The scale and the ids that `model.sample` is told. */
async function told(model: LatentDiffusion, options: Partial<InpaintOptions>) {
  const seen: { guidance?: number; condition?: number[]; unconditional?: number[] } = {};
  const sample = model.sample.bind(model);
  const spy = vi.spyOn(model, 'sample').mockImplementation(async (given) => {
    seen.guidance = given.guidance;
    seen.condition = await ids(given.condition);
    seen.unconditional = await ids(given.unconditional);
    return sample(given);
  });
  await fill(model, options);
  spy.mockRestore();
  return seen;
}

describe.each<[string, LatentDiffusionSpec, 'conditioned' | 'guided']>([
  ['a model of masked pictures and texts', hybridSpec(), 'conditioned'],
  [
    "a model of Stable Diffusion's kind",
    hybridSpec(bert, { kind: 'masked-latents' }),
    'conditioned',
  ],
  ['a model of texts, led by what is known', tinySpec({ conditioner: bert }), 'guided'],
])('%s', (_, spec, mode) => {
  test('a prompt changes the filling, and nothing outside', () =>
    withModel(spec, async (model) => {
      expect(inpaintingMode(spec)).toBe(mode);
      const before = await values(image());
      const fox = await fill(model, { tokenizer, prompt: 'red fox' });
      const hen = await fill(model, { tokenizer, prompt: 'blue hen' });
      let changed = 0;
      fox.forEach((value, i) => {
        if (!isHole[Math.floor(i / 3) % (H * W)])
          expect([value, hen[i]]).toEqual([before[i], before[i]]);
        else changed += value === hen[i] ? 0 : 1;
      });
      expect(changed).toBeGreaterThan(100);
    }));

  test('each picture has its prompt, and one serves them all', () =>
    withModel(spec, async (model) => {
      const each = await fill(model, { tokenizer, prompt: ['red fox', 'blue hen'] });
      const half = each.length / 2;
      const fox = await fill(model, { tokenizer, prompt: 'red fox' });
      const hen = await fill(model, { tokenizer, prompt: 'blue hen' });
      expect(each.slice(0, half)).toEqual(fox.slice(0, half));
      expect(each.slice(half)).toEqual(hen.slice(half));
    }));

  test('nothing in particular is the empty text, without guidance', () =>
    withModel(spec, async (model) => {
      const plain = await fill(model, {});
      expect(await fill(model, { tokenizer, prompt: '', guidance: 1 })).toEqual(plain);
      expect(await fill(model, { tokenizer, prompt: 'red fox' })).not.toEqual(plain);
    }));

  test('is guided by 5, away from the negative prompt, in one batch of two', () =>
    withModel(spec, async (model) => {
      const network = vi.spyOn(model.model, 'forward');
      const options = { tokenizer, prompt: 'red fox', negativePrompt: 'blue hen' };
      const [fox, hen] = ['red fox', 'blue hen'].map((text) => tokenizer.ids(text));
      expect(await told(model, options)).toEqual({
        ...{ guidance: 5, condition: [...fox, ...fox], unconditional: [...hen, ...hen] },
      });
      expect(new Set(network.mock.calls.map(([x]) => x.shape[0]))).toEqual(new Set([2 * N]));
      const usual = await fill(model, { ...options, negativePrompt: '' });
      expect(await fill(model, options)).not.toEqual(usual);
      expect(await fill(model, { tokenizer, prompt: 'red fox' })).toEqual(usual);
      expect(await fill(model, { tokenizer, negativePrompt: '' })).toHaveLength(usual.length);
    }));

  test('warns of a text that is too long once, whatever the number of pictures', () =>
    withModel(spec, async (model) => {
      const warn = vi.fn();
      const telling = TextTokenizer.fromTexts(['a red fox', 'blue hen'], { length: 6, warn });
      await fill(model, { tokenizer: telling, prompt: 'a red fox a blue hen' });
      expect(warn.mock.calls).toEqual([[expect.stringContaining('has 6 tokens, and 4 fit')]]);
    }));

  test.each<[string, Partial<InpaintOptions>, RegExp]>([
    ['a text without a tokenizer', { prompt: 'fox' }, /give the one that openTokenizer opens/],
    [
      'three texts for two pictures',
      { tokenizer, prompt: ['a', 'b', 'c'] },
      /one prompt for all pictures, or one for each of the 2\. Got 3/,
    ],
    ['a class', { classes: [1] }, /not conditioned on classes/],
    ['a class and a text', { classes: [1], prompt: 'fox' }, /not for both/],
    [
      'guidance of nothing',
      { tokenizer, prompt: 'a', negativePrompt: 'b', guidance: 1 },
      /leave negativePrompt out/,
    ],
    [
      'a condition beside a text',
      { tokenizer, prompt: 'a', condition: int64(1, 2) },
      /or the condition that says so, not both/,
    ],
  ])('refuses %s', (_, options, message) =>
    withModel(spec, (model) => {
      const given = { image: image(), mask: mask(), ...brief, ...options };
      expect(() => inpaint(model, given)).toThrow(message);
      return Promise.resolve();
    }),
  );
});

describe('a model of masked pictures and something else', () => {
  test('is told the masked picture and what is given as the condition', () =>
    withModel(hybridSpec(), async (model) => {
      const tokens = tokenizer.encode(['red fox', 'blue hen']);
      const holes = { image: image(), mask: mask(), condition: tokens, unconditional: tokens };
      const { sampling } = await prepareInpainting(model, holes);
      const { concat, crossattn } = sampling.condition as HybridInput;
      expect(crossattn).toBe(tokens);
      const { image: masked } = concat as MaskedImage;
      expect(masked.shape).toEqual([N, 16, 20, 3]);
      // guidance leaves the picture as it is
      expect((sampling.unconditional as HybridInput).concat).toBe(concat);
    }));

  test('takes classes as its condition, and nothing that is encoded', () => {
    const crossattn = { kind: 'class', embedDim: 6, nClasses: 4 } as const;
    return withModel(hybridSpec(crossattn), async (model) => {
      const one = await fill(model, { condition: int64(1, 1) });
      expect(await fill(model, { condition: int64(1, 3) })).not.toEqual(one);
      await expect(fill(model, {})).rejects.toThrow(/conditioner class\): give its condition/);
      await expect(fill(model, { condition: int64(1) })).rejects.toThrow(/2 pictures need as many/);
      await expect(fill(model, { conditioning: {} })).rejects.toThrow(/before it is encoded/);
      await expect(fill(model, { prompt: 'fox' })).rejects.toThrow(/reads no texts/);
    });
  });

  test('makes no pictures of texts alone', () =>
    withModel(hybridSpec(), (model) => {
      const wrong = () => textToImage(model, { tokenizer, prompt: 'fox' });
      expect(wrong).toThrow(
        'on masked pictures and texts at once, not on texts alone. Use inpaint.',
      );
      return Promise.resolve();
    }));

  test('whose tokens are those of layouts reads no texts', () =>
    withModel(hybridSpec({ ...bert, useTokenizer: false }), (model) => {
      const holes = { image: image(), mask: mask(), ...brief };
      const wrong = () => inpaint(model, { ...holes, tokenizer, prompt: 'fox' });
      expect(wrong).toThrow('on maps and tokens at once and reads no texts: leave the prompts out');
      return Promise.resolve();
    }));

  test('whose map is something else fills no holes', () => {
    const conditioner = { kind: 'hybrid', concat: { kind: 'identity' }, crossattn: bert } as const;
    expect(() => inpaintingMode({ ...hybridSpec(), conditioner })).toThrow(/another task/);
  });
});

describe.each<[string, LatentDiffusionSpec]>([
  ['attended to', tinySpec()],
  ['in the time embedding', admSpec({ unconditionalClass: 4 })],
])('a model of classes, %s', (_, spec) => {
  const classNames = ['fox', 'hen'];
  test('fills holes by a class, by its name, guided by 3', () =>
    withModel(spec, async (model) => {
      const asked = await told(model, { classes: ['Hen'], classNames });
      expect(asked).toEqual({ guidance: 3, condition: [1, 1] });
      const fillings = await Promise.all(
        [[0], [1], [1, 0]].map((classes) => fill(model, { classes })),
      );
      expect(fillings[1]).not.toEqual(fillings[0]);
      const half = fillings[0].length / 2;
      expect(fillings[2].slice(half)).toEqual(fillings[0].slice(half));
    }));

  test('fills holes with nothing in particular: the class that means none', () =>
    withModel(spec, async (model) => {
      expect(await told(model, {})).toEqual({ condition: [4, 4] });
    }));
});

test('a model of classes that has none for "none" wants to know which', () =>
  withModel(admSpec(), async (model) => {
    await expect(fill(model, {})).rejects.toThrow(/say which class is to be made/);
    const { guidance } = await told(model, { classes: [2] });
    expect(guidance).toBe(1);
  }));
