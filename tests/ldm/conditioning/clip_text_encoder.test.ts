// CLIP's text encoder against transformers' formulas, and Stable Diffusion's checkpoints by their keys.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { LatentDiffusion } from '../../../lib/index.js';
import {
  ClipTextEncoder,
  loadLatentDiffusion,
  saveLatentDiffusion,
  tensor,
  tidy,
  unconditionalInput,
  writeSafetensors,
  type Tensor,
  type TensorSource,
} from '../../../lib/index.js';
import { temporaryFolder } from '../../io/temporary.js';
import { parameterValues } from '../../parity/formula.js';
import { expectClose } from '../../support/expect_close.js';
import { root } from '../../support/source_tree.js';
import { int64, shaken, tinySpec } from '../tiny_diffusion.js';

interface Golden {
  config: ConstructorParameters<typeof ClipTextEncoder>[0];
  ids: number[][];
  output: number[][][];
}
const golden = JSON.parse(
  readFileSync(join(root, 'tests/golden/text/clip_text_encoder.json'), 'utf8'),
) as Golden;

function fill(model: ClipTextEncoder): void {
  const state = [...model.namedParameters()].map(([key, x]) => {
    return [key, tensor(parameterValues(key, x.shape), { shape: x.shape })] as const;
  });
  model.loadStateDict(new Map(state));
  for (const [, x] of state) x.dispose();
}

const idsOf = (rows: readonly number[][]): Tensor =>
  int64(...rows.flat()).reshape([rows.length, rows[0].length]);

it('gives the numbers of transformers', async () => {
  const model = new ClipTextEncoder(golden.config);
  fill(model);
  await tidy(async () => {
    const output = model.forward(idsOf(golden.ids));
    const expected = golden.output.flat(2);
    const closeness = { dtype: 'float32', tolerance: 'matmul', reduction: 48, slack: 8 } as const;
    expectClose((await output.data()) as Float32Array, Float64Array.from(expected), closeness);
  });
  model.dispose();
});

it('sees no later token', async () => {
  const model = new ClipTextEncoder(golden.config);
  fill(model);
  await tidy(async () => {
    const [row] = golden.ids;
    const other = [...row.slice(0, 4), 9, 9, 9];
    const output = model.forward(idsOf([row, other]));
    const [one, two] = [0, 1].map((n) => output.narrow(0, n, 1).narrow(1, 0, 4));
    expect(await one.data()).toEqual(await two.data());
  });
  model.dispose();
});

it('refuses what it cannot be built of or read', () => {
  expect(() => new ClipTextEncoder({ nEmbed: 10, nHead: 3 })).toThrow(
    'nEmbed (10) must be divisible by nHead (3)',
  );
  const model = new ClipTextEncoder(golden.config);
  expect(() => model.forward(int64(...Array<number>(8).fill(0)).reshape([1, 8]))).toThrow(
    'ids must be [N, T] with T <= 7. Got [1, 8]',
  );
  model.dispose();
});

describe('Stable Diffusion in tiny', () => {
  const inFolder = temporaryFolder();
  const conditioner = { kind: 'clip', ...golden.config } as const;
  const { unet } = tinySpec();
  const spec = tinySpec({
    unet: { ...unet, contextDim: 12 },
    conditioner,
    conditionerTrainable: false,
  });

  /** The model's state as the published files have it. */
  function published(model: LatentDiffusion, more: Record<string, Tensor> = {}) {
    const prefix = 'cond_stage_model.transformer.text_model.embeddings.';
    return new Map<string, Tensor | TensorSource>([
      ...model.exportState(),
      [`${prefix}position_ids`, int64(0, 1, 2, 3, 4, 5, 6).reshape([1, 7])],
      ['model_ema.decay', tensor(0.9999)],
      ['model_ema.num_updates', int64(100)],
      ...Object.entries(more),
    ]);
  }

  it('loads its checkpoint by key, what is bookkeeping left out', async () => {
    const model = await shaken(spec);
    fill(model.cond_stage_model as ClipTextEncoder);
    const path = inFolder('sd-v1.safetensors');
    await writeSafetensors(path, published(model));
    const loaded = await loadLatentDiffusion(path, spec);
    await tidy(async () => {
      const ids = idsOf(golden.ids);
      const [one, two] = await Promise.all(
        [model, loaded].map(async (each) => {
          const { images } = await each.sample({
            condition: ids,
            guidance: 3,
            steps: 2,
            seed: [1, 2],
          });
          return images!.data();
        }),
      );
      expect(two).toEqual(one);
    });
    await expect(loadLatentDiffusion(path, spec, { weights: 'ema' })).rejects.toThrow(
      'holds no moving average',
    );
    const odd = inFolder('odd.safetensors');
    await writeSafetensors(odd, published(model, { 'cond_stage_model.other': tensor(1) }));
    await expect(loadLatentDiffusion(odd, spec)).rejects.toThrow('cond_stage_model.other');
    model.dispose();
    loaded.dispose();
  });

  it('is saved and loaded as a folder', async () => {
    const model = await shaken(spec);
    await saveLatentDiffusion(inFolder('saved'), model);
    const loaded = await loadLatentDiffusion(inFolder('saved'));
    expect(loaded.spec).toEqual(spec);
    expect(loaded.cond_stage_model!.parameters().every((x) => !x.requiresGrad)).toBe(true);
    model.dispose();
    loaded.dispose();
  });

  it('leads away from a text of a begin and ends', async () => {
    const nothing = tidy(() => unconditionalInput(conditioner, idsOf(golden.ids)));
    expect(Array.from(await nothing.data(), Number)).toEqual(
      [0, 1].flatMap(() => [18, 19, 19, 19, 19, 19, 19]),
    );
    nothing.dispose();
  });
});
