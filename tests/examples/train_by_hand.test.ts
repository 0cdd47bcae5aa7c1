// The loop of one's own, run as people run it: on pixels, and on the latents of a saved first stage.
import { expect, test } from 'vitest';
import {
  buildFirstStage,
  loadLatentDiffusion,
  readImage,
  saveFirstStage,
  tidy,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { tinySpec } from '../ldm/tiny_diffusion.js';
import { runExample } from './run_example.js';

const file = temporaryFolder();

const run = (...args: string[]) => runExample('train_by_hand', '--quick', ...args);

test('trains on pixels, draws a sample of each category, saves', async () => {
  const said = await run('--out', file('pixels'));
  expect(said).toMatch(/^step 5: loss \d\.\d+\nstep 10: loss \d\.\d+\n/);
  expect(said).toContain(file('pixels'));
  const model = await loadLatentDiffusion(file('pixels/model'));
  const { nClasses } = model.conditioner as { nClasses: number };
  await tidy(async () => {
    const grid = await readImage(file('pixels/samples.png'));
    expect(grid.shape).toEqual([36, (nClasses - 1) * 34 + 2, 3]);
  });
  expect(await model.scale_factor!.item()).not.toBe(1);
  model.dispose();
});

test('trains on the latents of a saved first stage', async () => {
  const stage = buildFirstStage(tinySpec().firstStage);
  await saveFirstStage(file('stage'), stage);
  await run('--first-stage', file('stage'), '--steps', '2', '--out', file('latents'));
  const model = await loadLatentDiffusion(file('latents/model'));
  expect(model.spec.unet.imageSize).toBe(16);
  const own = model.first_stage_model.stateDict();
  for (const [key, weight] of stage.stateDict())
    expect(own.get(key)!.dataSync(), key).toEqual(weight.dataSync());
  stage.dispose();
  model.dispose();
});
