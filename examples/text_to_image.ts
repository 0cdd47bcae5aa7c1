// Pictures of a text:
//   node --import ./scripts/typescript.mjs examples/text_to_image.ts logs/captions/model "a red fox" foxes.png
import {
  loadLatentDiffusion,
  makeGrid,
  openTokenizer,
  textToImage,
  writeImage,
} from '../lib/index.js';

const [folder, prompt, file = 'texts.png'] = process.argv.slice(2);
if (prompt === undefined)
  throw new Error('give the folder of a model, a text, and a file to write');

const model = await loadLatentDiffusion(folder);
const tokenizer = await openTokenizer(folder, model.spec.conditioner);
const { images } = await textToImage(model, {
  tokenizer,
  prompt,
  negativePrompt: '', // what guidance leads away from
  guidance: 5,
  count: 4,
  steps: 50,
  seed: 1,
  onStep: ({ step, steps }) => console.log(`step ${step + 1} of ${steps}`),
});
await writeImage(file, await makeGrid(images!, { nrow: 2 }));
console.log(file);
