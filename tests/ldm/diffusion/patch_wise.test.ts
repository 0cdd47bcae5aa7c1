// Patches against the same sums made with PyTorch's F.unfold and F.fold in float64, and against the whole.
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import {
  CrossAttention,
  LayoutTokens,
  Module,
  mean,
  noise,
  randn,
  readSafetensors,
  resize,
  tanh,
  tensor,
  tidy,
  type FirstStage,
  type FirstStageSpec,
  type Tensor,
} from '../../../lib/index.js';
import { PatchGrid, type PatchOptions } from '../../../lib/ldm/diffusion/patch_grid.js';
import {
  applyPatchWise,
  decodePatchWise,
  encodePatchWise,
} from '../../../lib/ldm/diffusion/patch_wise.js';
import { root } from '../../support/source_tree.js';
import { int64, plainSpec, tinySpec, values, withModel } from '../tiny_diffusion.js';

const reference = await readSafetensors(join(root, 'tests/golden/patches/patch_wise.safetensors'));
const cases: Record<string, PatchOptions> = {
  plain: { ks: [6, 4], stride: [3, 2] },
  tie: { ks: [6, 4], stride: [3, 2], tieBraker: true },
  clipped: {
    ks: [4, 6],
    stride: [4, 2],
    tieBraker: true,
    clipMinWeight: 0.1,
    clipMaxWeight: 0.3,
    clipMinTieWeight: 0.2,
    clipMaxTieWeight: 0.4,
  },
};
const whole = (x: Tensor) => mean(x, [1, 2], { keepDims: true });

/** The reference's stand-ins: what they make of a value depends on all of its patch. */
const network = (x: Tensor, t: Tensor, { concat: map }: { concat?: Tensor }) =>
  tanh(
    x
      .add(map!.sum(3, { keepDims: true }).mul(0.5))
      .add(whole(x))
      .add(t.reshape([-1, 1, 1, 1])),
  );

class Halving extends Module<[Tensor], Tensor> implements FirstStage {
  readonly spec: FirstStageSpec = { kind: 'identity' };
  readonly latentChannels = 3;
  readonly downsampling = 2;
  encodeToLatents(x: Tensor): Tensor {
    return tanh(resize(x, { scaleFactor: 0.5, mode: 'area' }).add(whole(x)));
  }
  decodeLatents(z: Tensor): Tensor {
    return tanh(resize(z, { scaleFactor: 2, mode: 'nearest' }).add(whole(z)));
  }
  forward(x: Tensor): Tensor {
    return this.decodeLatents(this.encodeToLatents(x));
  }
}

async function furthest(actual: Tensor, expected: Tensor): Promise<number> {
  expect(actual.shape).toEqual(expected.shape);
  return actual.sub(expected).abs().max().item();
}

describe.each(Object.entries(cases))('as the original, %s', (name, options) => {
  it.each([1, 4])('%i patches at once', (batch) =>
    tidy(async () => {
      const given = { ...options, batch };
      const [x, map, t] = await Promise.all(['x', 'c', 't'].map((key) => reference.get(key)));
      const made = applyPatchWise(network, x, t, { concat: map }, given);
      expect(await furthest(made, await reference.get(`${name}/network`))).toBeLessThan(1e-12);
      const decoded = decodePatchWise(new Halving(), x, given);
      expect(await furthest(decoded, await reference.get(`${name}/decoded`))).toBeLessThan(1e-12);
      const double = (sides: PatchOptions['ks']) => {
        return (sides as [number, number]).map((side) => 2 * side) as [number, number];
      };
      const inPixels = { ...given, ks: double(given.ks), stride: double(given.stride!) };
      const encoded = encodePatchWise(new Halving(), await reference.get('image'), inPixels);
      expect(await furthest(encoded, await reference.get(`${name}/encoded`))).toBeLessThan(1e-12);
    }),
  );
});

describe('gradients', () => {
  it('are the original’s, of what is cut as well', () =>
    tidy(async () => {
      const [x, map, t] = await Promise.all(['x', 'c', 't'].map((key) => reference.get(key)));
      x.requiresGrad = true;
      map.requiresGrad = true;
      // a history of its own, as a trained conditioner's map has
      const made = applyPatchWise(
        network,
        x,
        t,
        { concat: map.mul(1) },
        { ...cases.tie, batch: 2 },
      );
      made.square().sum().backward();
      expect(await furthest(x.grad!, await reference.get('grad/x'))).toBeLessThan(1e-11);
      expect(await furthest(map.grad!, await reference.get('grad/c'))).toBeLessThan(1e-11);
    }));

  it('reach network and trained conditioner through the loss', () =>
    withModel(tinySpec(), async (model) => {
      const [t, eps] = [int64(5, 700), noise([2, 16, 8, 3], { seed: 2 })];
      const given = { encoded: randn([2, 16, 8, 3]), condition: int64(1, 3) };
      model.train();
      const slopes = (patches?: PatchOptions) =>
        tidy(async () => {
          const { loss } = model.loss(given, { t, noise: eps }, patches);
          loss.backward();
          const parameters = model.trainedParameters();
          const made = await Promise.all(parameters.map((each) => values(each.grad!)));
          parameters.forEach((each) => (each.grad = null));
          return { loss: await loss.item(), made };
        });
      const [one, plain] = [await slopes({ ks: 64 }), await slopes()];
      expect(one).toEqual(plain);
      const cut = await slopes({ ks: 8, stride: 4, batch: 2 });
      const again = await slopes({ ks: 8, stride: 4 });
      expect(cut.loss).not.toBeCloseTo(plain.loss, 5);
      expect(again.loss).toBeCloseTo(cut.loss, 5);
      const reached = ({ made }: typeof cut) => made.map((each) => each.some((x) => x !== 0));
      expect(reached(cut)).toEqual(reached(plain));
      const slopesOf = again.made.flat();
      cut.made.flat().forEach((value, i) => expect(value).toBeCloseTo(slopesOf[i], 4));
    }));
});

describe('one patch', () => {
  it('is the whole, to the bit', () =>
    withModel(plainSpec(), async (model) => {
      const options = { ks: 64, stride: 32, patchDistributedVq: true };
      const [x, t] = [randn([2, 8, 12, 3]), int64(3, 900)];
      const pairs = [
        [model.applyModel(x, t, {}, options), model.applyModel(x, t)],
        [model.decode(x, options), model.decode(x)],
      ];
      const images = randn([2, 16, 24, 3]);
      const draws = { seed: 4 };
      pairs.push([model.latentsOf({ images }, draws, options), model.encode(images, draws)]);
      for (const [made, expected] of pairs)
        expect(await values(made)).toEqual(await values(expected));
    }));
});

describe('sampling', () => {
  it('shows the network no more than a patch, and samples beyond the size of training', () =>
    withModel(tinySpec(), async (model) => {
      const seen = vi.spyOn(model.model, 'forward');
      const shared = { condition: int64(1), guidance: 2, steps: 2, seed: 7 };
      const { latents, images } = await model.sample({
        ...shared,
        size: [20, 12],
        patches: { ks: 8, stride: 4, patchDistributedVq: true },
      });
      expect(latents.shape).toEqual([1, 20, 12, 3]);
      expect(images!.shape).toEqual([1, 40, 24, 3]);
      expect(new Set(seen.mock.calls.map(([x]) => String(x.shape)))).toEqual(new Set(['2,8,8,3']));
      const grouped = await model.sample({
        ...shared,
        size: [20, 12],
        patches: { ks: 8, stride: 4, batch: 3 },
        decode: false,
      });
      const [a, b] = [await values(latents), await values(grouped.latents)];
      a.forEach((value, i) => expect(value).toBeCloseTo(b[i], 3));
    }));

  it.each([1, 3])('projects the context once a run, with %i patches at once', (batch) =>
    withModel(tinySpec(), async (model) => {
      const network = model.model.diffusion_model;
      const layers = network.modules().filter((module) => module instanceof CrossAttention);
      const cross = new Set(layers.filter((layer) => layer.to_k.weight.shape[1] === 6));
      const project = vi.spyOn(CrossAttention.prototype, 'project');
      await model.sample({
        ...{ condition: int64(1, 2), guidance: 2, steps: 3, seed: 7, size: [12, 12] },
        ...{ patches: { ks: 8, stride: 4, batch }, decode: false },
      });
      const calls = project.mock.contexts.filter((layer) => cross.has(layer as CrossAttention));
      project.mockRestore();
      expect(calls.length).toBe(cross.size);
    }),
  );
});

describe('a layout', () => {
  const layouts = tinySpec({
    conditioner: {
      kind: 'bert',
      nEmbed: 6,
      nLayer: 1,
      vocabSize: 8192,
      maxSeqLen: 5,
      useTokenizer: false,
      unconditionalToken: 8191,
    },
  });
  const tokens = tensor(BigInt64Array.from([3, 7, 900, 0, 8099], BigInt), { shape: [1, 5] });
  const vocabulary = new LayoutTokens({ categories: 4, maxObjects: 1 });
  const patches: PatchOptions = { ks: [8, 6], stride: [4, 6], cropTokens: true };
  /** Of latents of 12 x 12: corners in shares of the canvas, as the original has them. */
  const corners = [0, 4].flatMap((top) =>
    [0, 6].map((left) =>
      vocabulary
        .encode([], { crop: { x: left / 12, y: top / 12, width: 6 / 12, height: 8 / 12 } })
        .slice(-2),
    ),
  );

  it('tells each patch which part of the canvas it is', () =>
    withModel(layouts, async (model) => {
      const given: Promise<number[]>[] = [];
      const encode = model.condition.bind(model);
      vi.spyOn(model, 'condition').mockImplementation((x) => {
        given.push(values(x as Tensor));
        return encode(x);
      });
      await model.sample({ condition: tokens, steps: 1, seed: 1, size: [12, 12], patches });
      expect((await Promise.all(given)).map((ids) => ids.map(Number))).toEqual(
        corners.map((own) => [3, 7, 900, ...own]),
      );
    }));

  it('is guided away from nothing, and reaches the trained conditioner', () =>
    withModel(layouts, async (model) => {
      const seen = vi.spyOn(model.model, 'forward');
      const shared = { condition: tokens, steps: 1, seed: 1, size: [12, 12] as const };
      await model.sample({ ...shared, guidance: 2, patches: { ...patches, batch: 4 } });
      expect(seen.mock.calls.map(([x]) => x.shape)).toEqual([[8, 8, 6, 3]]);
      model.train();
      const draws = { t: int64(100), noise: noise([1, 12, 12, 3], { seed: 2 }) };
      const given = { encoded: randn([1, 12, 12, 3]), condition: tokens };
      model.loss(given, draws, patches).loss.backward();
      const table = model.cond_stage_model!.parameters()[0];
      const used = (await values(table.grad!)).reduce((rows, slope, i) => {
        return slope === 0 ? rows : rows.add(Math.floor(i / 6));
      }, new Set<number>());
      expect([...used].sort((a, b) => a - b)).toEqual(
        [...new Set([3, 7, 900, ...corners.flat()])].sort((a, b) => a - b),
      );
    }));

  it('must be one', () =>
    withModel(tinySpec(), async (model) => {
      await expect(
        model.sample({ condition: int64(1), steps: 1, seed: 1, size: [12, 12], patches }),
      ).rejects.toThrow(
        'cropTokens is for layouts given as tokens [N, T], not for a conditioner of kind class',
      );
    }));
});

describe('the grid', () => {
  it('ends with a patch at the border where the stride leaves a rest', () => {
    const { patches } = new PatchGrid(11, 5, { ks: 4, stride: 3 });
    expect(patches.map(({ top, left }) => [top, left])).toEqual(
      [0, 3, 6, 7].flatMap((top) => [0, 1].map((left) => [top, left])),
    );
    const small = new PatchGrid(3, 9, { ks: 4, tieBraker: true });
    expect(small.patches.map(({ height, left }) => [height, left])).toEqual([
      [3, 0],
      [3, 2],
      [3, 4],
      [3, 5],
    ]);
  });

  it('blends to the same map what networks leave as it is', () =>
    tidy(async () => {
      for (const [h, w] of [
        [11, 5],
        [4, 4],
        [1, 9],
      ]) {
        const x = randn([2, h, w, 3]);
        const options = { ks: 4, stride: 3, tieBraker: true };
        const y = applyPatchWise((part) => part, x, int64(1, 1), {}, options);
        expect(await furthest(y, x)).toBeLessThan(1e-6);
      }
    }));

  it.each<[Partial<PatchOptions> & Record<string, unknown>, string]>([
    [{ ks: 0 }, 'ks must be an integer from 1'],
    [{ ks: 4, stride: 5 }, 'leaves gaps'],
    [{ ks: 4, clipMinWeight: 0 }, 'clipMinWeight must be a number'],
    [{ ks: 4, clipMinWeight: 0.4, clipMaxWeight: 0.2 }, 'clipMinWeight (0.4) must be at most'],
    [{ ks: 4, tieBreaker: true }, "Did you mean 'tieBraker'"],
    [{}, 'ks is missing'],
  ])('refuses %j', (options, message) => {
    expect(() => new PatchGrid(8, 8, options as PatchOptions)).toThrow(message);
  });

  it('refuses pictures and patches that are no whole latents, and networks that change sizes', () => {
    const image = randn([1, 8, 8, 3]);
    expect(() => encodePatchWise(new Halving(), image, { ks: 3 })).toThrow('divisible by 2');
    expect(() => applyPatchWise((x) => x.narrow(1, 0, 2), image, int64(1), {}, { ks: 4 })).toThrow(
      'expected [N, 4, 4, C]',
    );
  });
});
