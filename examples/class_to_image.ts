// Pictures of a class, with less and with more guidance, a row each:
//   node --import ./scripts/typescript.mjs examples/class_to_image.ts logs/animals/model otter otters.png
import {
  classToImage,
  concat,
  loadLatentDiffusion,
  makeGrid,
  readClassNames,
  writeImage,
  type Tensor,
} from '../lib/index.js';

const [folder, name, file = 'classes.png'] = process.argv.slice(2);
if (name === undefined) throw new Error('give the folder of a model, a class, and a file to write');

const model = await loadLatentDiffusion(folder);
const classNames = await readClassNames(folder);
const rows: Tensor[] = [];
for (const guidance of [1, 2, 4]) {
  const options = { classes: [name], classNames, count: 4, guidance, steps: 20, seed: 1 };
  rows.push((await classToImage(model, options)).images!);
}
await writeImage(file, await makeGrid(concat(rows), { nrow: 4 }));
console.log(file);
