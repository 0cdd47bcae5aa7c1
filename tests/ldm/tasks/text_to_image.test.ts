// Texts and classes to pictures: what the model is asked for, and what is refused.
import { afterAll, beforeAll, describe, expect, it, test, vi } from 'vitest';
import {
  classIds,
  classToImage,
  TextTokenizer,
  textToImage,
  tidy,
  type ConditionerSpec,
  type LatentDiffusion,
  type Tensor,
  type TextToImageOptions,
} from '../../../lib/index.js';
import { int64, plainSpec, shaken, tinySpec } from '../tiny_diffusion.js';

const tokenizer = TextTokenizer.fromTexts(['a red fox', 'blue hen'], { length: 6 });
const bert = {
  kind: 'bert',
  nEmbed: 6,
  nLayer: 1,
  vocabSize: tokenizer.vocabSize,
  maxSeqLen: 6,
} as const satisfies ConditionerSpec;
let reading: LatentDiffusion;
let classes: LatentDiffusion;

beforeAll(async () => {
  reading = await shaken(tinySpec({ conditioner: bert }));
  classes = await shaken(tinySpec());
});
afterAll(() => [reading, classes].forEach((model) => model.dispose()));

const data = async (x: Tensor): Promise<number[]> => Array.from((await x.data()) as Float32Array);
const quick = { steps: 2 } as const;

/** What `model.sample` was told, of which pictures come. */
async function told(model: LatentDiffusion, body: () => Promise<unknown>) {
  const sample = vi.spyOn(model, 'sample');
  await tidy(body);
  const [options] = sample.mock.calls[0];
  sample.mockRestore();
  return options;
}

describe('textToImage', () => {
  const make = (options: Partial<TextToImageOptions>) =>
    textToImage(reading, { tokenizer, prompt: 'red fox', ...quick, ...options });

  it('is guided, away from the empty text, and a picture is its own', async () => {
    await tidy(async () => {
      const { images } = await make({ prompt: ['red fox', 'blue hen'], count: 2, seed: 5 });
      expect(images!.shape).toEqual([4, 16, 16, 3]);
      const ids = tokenizer.encode(['blue hen']);
      const alone = await reading.sample({ condition: ids, guidance: 5, seed: [8], steps: 2 });
      const [made, wanted] = [await data(images!.narrow(0, 3, 1)), await data(alone.images!)];
      made.forEach((value, i) => expect(value).toBeCloseTo(wanted[i], 4));
    });
  });

  it('leads away from a negative prompt, one for all or one for each', async () => {
    await tidy(async () => {
      const plain = await data((await make({})).images!);
      const away = await data((await make({ negativePrompt: 'blue hen' })).images!);
      const listed = await data((await make({ negativePrompt: ['blue hen'] })).images!);
      expect(away).not.toEqual(plain);
      expect(listed).toEqual(away);
      const ids = tokenizer.encode(['red fox']);
      const unconditional = tokenizer.encode(['blue hen']);
      const direct = await reading.sample({
        ...{ condition: ids, unconditional, guidance: 5, seed: [0], steps: 2 },
      });
      expect(away).toEqual(await data(direct.images!));
    });
  });

  it('warns of each text that is too long once, however many pictures it has', async () => {
    const warn = vi.fn();
    const telling = TextTokenizer.fromTexts(['a red fox', 'blue hen'], { length: 6, warn });
    const prompt = ['a red fox a red hen', 'red fox'];
    await tidy(() => make({ tokenizer: telling, prompt, count: 4 }));
    expect(warn).toHaveBeenCalledTimes(1);
    const negativePrompt = 'a blue hen a blue hen';
    await tidy(() => make({ tokenizer: telling, prompt, negativePrompt, count: 4 }));
    expect(warn).toHaveBeenCalledTimes(3);
  });

  it('takes other sizes', async () => {
    const options = await told(reading, () => make({ size: [16, 32], decode: false }));
    expect(options.size).toEqual([8, 16]);
  });

  test.each<[string, Partial<TextToImageOptions>, string]>([
    ['an odd size', { size: [16, 18] }, 'multiples of 4 pixels for this model. Got 16 and 18'],
    ['no prompt', { prompt: [] }, 'say at least once what is to be shown'],
    ['no picture', { count: 0 }, 'count must be an integer of at least 1. Got 0'],
    [
      'seeds that lack',
      { count: 3, seed: [1, 2] },
      '3 pictures need one seed, or 3 of them. Got 2',
    ],
    ['too many negatives', { negativePrompt: ['', ''] }, 'each of the 1 prompts. Got 2'],
    ['guidance of nothing', { guidance: 1, negativePrompt: '' }, 'leave negativePrompt out'],
    [
      'another tokenizer',
      { tokenizer: TextTokenizer.fromTexts(['a b c d e f g h'], { length: 6 }) },
      'the conditioner knows',
    ],
  ])('%s is refused', (_, options, message) => {
    expect(() => make(options)).toThrow(message);
  });

  it('refuses models of classes and of layouts', async () => {
    const ask = (model: LatentDiffusion) => () => textToImage(model, { tokenizer, prompt: 'fox' });
    expect(ask(classes)).toThrow(
      'textToImage: the model is conditioned on classes, not on texts alone. Use classToImage.',
    );
    const layouts = await shaken(tinySpec({ conditioner: { ...bert, useTokenizer: false } }));
    expect(ask(layouts)).toThrow('conditioned on layouts, not on texts alone. Use layoutToImage.');
    layouts.dispose();
  });
});

describe('classToImage', () => {
  it('makes pictures of ids and names, guided where a class means none', async () => {
    const options = await told(classes, () =>
      classToImage(classes, {
        ...{ ...quick, classes: ['Hen', 2], classNames: ['fox', 'hen'], count: 2, seed: 3 },
        decode: false,
      }),
    );
    expect(options).toMatchObject({ guidance: 3, seed: [3, 4, 5, 6] });
    const unguided = tinySpec({ conditioner: { kind: 'class', embedDim: 6, nClasses: 5 } });
    const model = await shaken(unguided);
    const plain = await told(model, () => classToImage(model, { ...quick, classes: [0] }));
    expect(plain.guidance).toBe(1);
    model.dispose();
  });

  it('asks the model for these classes', async () => {
    await tidy(async () => {
      const { images } = await classToImage(classes, { ...quick, classes: [1], seed: 4 });
      const wrong = await classToImage(classes, { ...quick, classes: [0], seed: 4 });
      expect(await data(images!)).not.toEqual(await data(wrong.images!));
    });
  });

  it('takes classes in the time embedding, as sampling by hand does', async () => {
    const adm = (none?: number) => {
      const { unet, ...spec } = plainSpec({ unconditionalClass: none });
      const conditioner = { kind: 'identity' } as const;
      const numbered = { ...unet, numClasses: 4 };
      return shaken({ ...spec, unet: numbered, conditioner, conditioningKey: 'adm' });
    };
    const model = await adm(3);
    await tidy(async () => {
      const options = { ...quick, classes: ['hen'], classNames: ['fox', 'hen'], seed: 4 };
      const { images } = await classToImage(model, options);
      const [condition, unconditional] = [int64(1), int64(3)];
      const byHand = await model.sample({
        ...{ ...quick, condition, unconditional, guidance: 3, seed: [4] },
      });
      expect(await data(images!)).toEqual(await data(byHand.images!));
      expect(() => classToImage(model, { ...options, classes: [4] })).toThrow('from 0 to 3');
    });
    model.dispose();
    const unguided = await adm();
    const plain = await told(unguided, () => classToImage(unguided, { ...quick, classes: [0] }));
    expect(plain.guidance).toBe(1);
    const guided = tidy(() => classToImage(unguided, { ...quick, classes: [0], guidance: 2 }));
    await expect(guided).rejects.toThrow('no class of a network with numClasses');
    unguided.dispose();
  });

  it('refuses a model of texts', () => {
    const wrong = () => classToImage(reading, { classes: [1] });
    expect(wrong).toThrow(
      'the model is not conditioned on classes; its conditioner is of kind bert',
    );
  });
});

describe('classIds', () => {
  const spec = tinySpec({ conditioner: { kind: 'class', embedDim: 4, nClasses: 5 } });
  const names = ['tench, Tinca tinca', 'crane', 'crane, derrick', 'goldfish'];
  const ids = (...given: (number | string)[]) => classIds(spec, given, names);

  test('by id, by name, by one of several names, in any case', () => {
    expect(ids(4, '0', 'tench', 'TINCA TINCA', 'tench, Tinca tinca', ' goldfish ')).toEqual([
      4, 0, 0, 0, 0, 3,
    ]);
    // the whole name of one is a part of another's
    expect(ids('crane', 'derrick')).toEqual([1, 2]);
  });

  test.each([
    ['goldfsh', "there is no class 'goldfsh'", "Did you mean 'goldfish'?"],
    ['5', "there is no class '5'", 'expected an id from 0 to 4'],
    [-1, "there is no class '-1'", 'tench, Tinca tinca; crane'],
  ])('%s is refused', (given, ...messages) => {
    for (const message of messages) expect(() => ids(given)).toThrow(message);
  });

  test('a name of several classes is refused', () => {
    const both = () => classIds(spec, ['ray'], ['ray, fish', 'ray, light']);
    expect(both).toThrow("'ray' is the name of several classes: ask for one of the ids 0, 1");
  });
});
