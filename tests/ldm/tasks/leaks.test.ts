// What tasks make on the way is gone when they are done, also when they fail or are stopped.
import { expect, test } from 'vitest';
import {
  classToImage,
  defaultDevice,
  full,
  inpaint,
  layoutToImage,
  noise,
  pad,
  semanticToImage,
  textToImage,
  TextTokenizer,
  tidy,
  upscale,
  zeros,
  type LatentDiffusion,
  type LatentDiffusionSpec,
  type SampleOptions,
} from '../../../lib/index.js';
import { int64, plainSpec, shaken, tinySpec } from '../tiny_diffusion.js';
import { semanticSpec } from './semantic_spec.js';
import { collectGarbage } from '../../support/collect_garbage.js';

const device = defaultDevice();
const tokenizer = TextTokenizer.fromTexts(['a red fox'], { length: 8 });
const bert = { kind: 'bert', nEmbed: 6, nLayer: 1, maxSeqLen: 8 } as const;
const mapped = (channels: number, kind: 'identity' | 'first-stage'): LatentDiffusionSpec => ({
  ...plainSpec({ conditioner: { kind }, conditioningKey: 'concat' }),
  unet: { ...plainSpec().unet, inChannels: channels },
});
const holes = () => ({
  image: noise([1, 13, 18, 3], { seed: 1 }).clamp(-1, 1),
  mask: pad(full([1, 5, 6, 1], 1), [
    [0, 0],
    [2, 6],
    [3, 9],
    [0, 0],
  ]),
});
const boxes = [{ category: 0, x: 0, y: 0, width: 0.5, height: 0.5 }];

type Options = Pick<SampleOptions, 'steps' | 'guidance' | 'signal' | 'onStep'>;
type Run = (model: LatentDiffusion, options: Options) => Promise<unknown>;

test.each<[string, LatentDiffusionSpec, Run]>([
  ['classToImage', tinySpec(), (model, rest) => classToImage(model, { ...rest, classes: [1, 2] })],
  [
    'textToImage',
    tinySpec({ conditioner: { ...bert, vocabSize: tokenizer.vocabSize } }),
    (model, rest) => textToImage(model, { ...rest, tokenizer, prompt: 'fox', negativePrompt: 'a' }),
  ],
  [
    'layoutToImage',
    tinySpec({ conditioner: { ...bert, vocabSize: 104, useTokenizer: false } }),
    (model, rest) => layoutToImage(model, { ...rest, boxes, categories: ['dog'] }),
  ],
  [
    'semanticToImage',
    semanticSpec(5),
    (model, rest) => semanticToImage(model, { ...rest, map: zeros([1, 37, 50]) }),
  ],
  [
    'upscale',
    mapped(6, 'identity'),
    (model, rest) => upscale(model, { ...rest, image: noise([1, 7, 5, 3], { seed: 1 }) }),
  ],
  [
    'inpaint, of a model of masked pictures',
    mapped(7, 'first-stage'),
    (model, { guidance: _, ...rest }) => inpaint(model, { ...rest, ...holes() }),
  ],
  [
    'inpaint, of a model of classes',
    tinySpec(),
    (model, rest) => inpaint(model, { ...rest, ...holes(), condition: int64(1) }),
  ],
])('%s', async (_name, spec, run) => {
  const model = await tidy(() => shaken(spec));
  // What is given and what is returned goes with the scope, and nothing that is in use does.
  const live = async (options: Partial<Options>) => {
    await tidy(async () => {
      await run(model, { steps: 2, guidance: 2, ...options }).catch((error: unknown) => {
        expect((error as Error).message).toBe('enough');
      });
    });
    await device.synchronize();
    await collectGarbage();
    return device.memoryStats().liveBytes;
  };
  const settled = await live({});
  expect(await live({})).toBe(settled);
  const stop = new AbortController();
  const onStep = () => stop.abort(new Error('enough'));
  expect(await live({ signal: stop.signal, onStep })).toBe(settled);
  model.dispose();
});
