// Pictures out of nothing: the same starts with few and with many steps, a row each.
//   node --import ./scripts/typescript.mjs examples/unconditional.ts logs/folder64-ldm/model pictures.png
import { concat, loadLatentDiffusion, makeGrid, writeImage, type Tensor } from '../lib/index.js';

const [folder, file = 'pictures.png'] = process.argv.slice(2);
if (folder === undefined) throw new Error('give the folder of a model, and a file to write');

const model = await loadLatentDiffusion(folder);
const rows: Tensor[] = [];
for (const steps of [5, 20, 100])
  rows.push((await model.sample({ seed: [1, 2, 3, 4], method: 'dpm-solver++', steps })).images!);
await writeImage(file, await makeGrid(concat(rows), { nrow: 4 }));
console.log(file);
