// Sampling and a loop of training whose work the device records: the bits, and the memory, of those that are not.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  autocast,
  capture,
  manualSeed,
  noise,
  setDefaultDevice,
  SGD,
  tidy,
  type LatentDiffusion,
  type LatentDiffusionSpec,
  type SampleOptions,
  type Tensor,
} from '../lib/index.js';
import { addon } from '../lib/native.js';
import {
  int64,
  samplingMethods,
  shaken,
  stepping,
  tinySpec,
  values,
} from './ldm/tiny_diffusion.js';
import { availableDevices } from './support/devices.js';

/** 4x4 latents, one level, a transformer that attends to a class; 6 timesteps. */
function smallSpec(changed: Partial<LatentDiffusionSpec> = {}): LatentDiffusionSpec {
  const { unet, ...spec } = tinySpec();
  return {
    ...spec,
    unet: { ...unet, imageSize: 4, channelMult: [1] },
    firstStage: { kind: 'identity' },
    diffusion: { ...spec.diffusion, timesteps: 6 },
    ...changed,
  };
}

for (const device of availableDevices)
  describe(`on ${device}`, () => {
    const records = addon.records(device.index);
    const memory = () => {
      const { tensors, liveBlocks, liveBytes, graphBytes } = device.memoryStats();
      return { tensors, liveBlocks, liveBytes, graphBytes };
    };
    let atFirst: ReturnType<typeof memory>;
    beforeEach(() => {
      setDefaultDevice(device);
      atFirst = memory();
    });
    afterEach(() => expect(memory()).toEqual(atFirst));

    const withModel = async (
      changed: Partial<LatentDiffusionSpec>,
      body: (model: LatentDiffusion) => Promise<void>,
    ) => {
      const model = await tidy(() => shaken(smallSpec(changed)));
      try {
        await body(model);
      } finally {
        model.dispose();
      }
    };
    const pair: SampleOptions = { seed: [1, 2], guidance: 3, steps: 5, decode: false };
    /** The latents, and how often the network's JavaScript ran. */
    const sampled = async (model: LatentDiffusion, options: SampleOptions) => {
      const network = vi.spyOn(model.model, 'forward');
      try {
        const latents = await tidy(async () => {
          const condition = int64(0, 1);
          return values((await model.sample({ ...pair, condition, ...options })).latents);
        });
        return { latents, calls: network.mock.calls.length };
      } finally {
        network.mockRestore();
      }
    };
    /** What a run with capture gives, after a look at one without, and at the memory that both leave. */
    const compared = async (model: LatentDiffusion, options: SampleOptions) => {
      const expected = await sampled(model, { ...options, capture: false });
      const before = memory();
      const found = await sampled(model, options);
      expect(memory()).toEqual(before);
      expect(found.latents).toEqual(expected.latents);
      return { calls: found.calls, all: expected.calls, latents: found.latents };
    };
    const recorded = ({ calls, all }: { calls: number; all: number }) =>
      expect(calls).toBe(records ? 2 : all);

    test.each(samplingMethods)(
      '%s with guidance: one call warms up, one is recorded, the others replay',
      (method) =>
        withModel({}, async (model) => {
          const run = await compared(model, stepping(method, 5));
          recorded(run);
          expect(run.all).toBeGreaterThanOrEqual(5);
        }),
    );

    test('samplers remember estimates that the network itself gave, at any timestep', () =>
      withModel({ diffusion: { timesteps: 6, parameterization: 'x0' } }, async (model) => {
        recorded(await compared(model, { method: 'unipc', steps: 4, spacing: 'karras' }));
      }));

    test.each(samplingMethods)('%s: a seed gives the picture of the CPU', async (method) => {
      const pictures: number[][] = [];
      for (const where of [device, 'cpu']) {
        setDefaultDevice(where);
        manualSeed(5); // for the classes' embeddings
        await withModel({}, async (model) => {
          pictures.push((await sampled(model, { ...stepping(method, 5), guidance: 2 })).latents);
        });
      }
      const [found, expected] = pictures;
      const largest = Math.max(...expected.map(Math.abs));
      found.forEach((value, i) => {
        expect(Math.abs(value - expected[i])).toBeLessThan(1e-5 * largest);
      });
      setDefaultDevice(device);
    });

    test('in 16 bits, and with latents that begin in 16 bits and go on in 32', () =>
      withModel({}, (model) =>
        autocast('bfloat16', async () => {
          recorded(await compared(model, {}));
          await tidy(async () => {
            const initial = noise([2, 4, 4, 3], { seed: 3 }).to('bfloat16');
            const added = (step: number) => noise([2, 4, 4, 3], { seed: 4, step });
            const run = await compared(model, { eta: 1, initial, noise: added, seed: undefined });
            // Noise widens the latents in the second step: each dtype has a recording of its own.
            expect(run.calls).toBe(records ? 4 : run.all);
            expect(run.all).toBe(6);
          });
        }),
      ));

    test('two runs after each other, and at the same time', () =>
      withModel({}, async (model) => {
        const { latents: first } = await sampled(model, { capture: false });
        const { latents: second } = await sampled(model, { seed: [3, 4], guidance: 1 });
        const both = await Promise.all([
          sampled(model, {}),
          sampled(model, { seed: [3, 4], guidance: 1 }),
        ]);
        expect(both.map(({ latents }) => latents)).toEqual([first, second]);
      }));

    test('an abort or an error in the middle leaves nothing behind', () =>
      withModel({}, async (model) => {
        const { latents } = await sampled(model, {});
        const before = memory();
        const controller = new AbortController();
        const stopped = sampled(model, {
          method: 'plms',
          signal: controller.signal,
          onStep: ({ step }) => {
            if (records && step >= 2) expect(device.memoryStats().graphBytes).toBeGreaterThan(0);
            if (step === 2) controller.abort(new Error('enough'));
          },
        });
        await expect(stopped).rejects.toThrow('enough');
        expect(memory()).toEqual(before);
        const broken = sampled(model, {
          method: 'unipc',
          onStep: ({ step }) => {
            if (step === 3) throw new Error('disk full');
          },
        });
        await expect(broken).rejects.toThrow('disk full');
        expect(memory()).toEqual(before);
        const network = vi.spyOn(model.model, 'forward');
        for (const good of [1, 2])
          network.mockImplementationOnce((x: Tensor) => {
            if (good === 2) throw new Error('no network');
            return x.mul(2);
          });
        await expect(sampled(model, {})).rejects.toThrow('no network');
        network.mockRestore();
        expect(memory()).toEqual(before);
        expect((await sampled(model, {})).latents).toEqual(latents);
      }));

    test('what differs from step to step is not recorded', () =>
      withModel({ numTimestepsCond: 2 }, async (model) => {
        const noised = await compared(model, stepping('ddpm', 6));
        expect(noised.calls).toBe(noised.all);
        const cut = await compared(model, {
          patches: { ks: 4, stride: 2 },
          size: [4, 6],
          steps: 3,
        });
        expect(cut.calls).toBe(cut.all);
      }));

    test('a loop of training captures the loss and its gradients', () =>
      withModel({}, (model) =>
        tidy(async () => {
          const start = new Map([...model.stateDict()].map(([key, x]) => [key, x.mul(1)]));
          const train = async (record: boolean) => {
            model.loadStateDict(start);
            const optimizer = new SGD(model.trainedParameters(), { lr: 0.05, momentum: 0.9 });
            const body = (encoded: Tensor, condition: Tensor, t: Tensor, noise: Tensor) => {
              const { loss } = model.loss({ encoded, condition }, { t, noise });
              loss.backward();
              return loss;
            };
            const step = capture(body);
            const losses: number[] = [];
            for (let i = 0; i < 5; i++) {
              optimizer.zeroGrad();
              const [latents, epsilon] = [1, 2].map((seed) => {
                return noise([2, 4, 4, 3], { seed, step: i });
              });
              const inputs = [latents, int64(i % 4, 4), int64(i, 5 - i), epsilon] as const;
              losses.push(await (record ? step : body)(...inputs).item());
              optimizer.step();
            }
            optimizer.zeroGrad();
            optimizer.dispose();
            step.dispose();
            return losses;
          };
          expect(await train(true)).toEqual(await train(false));
        }),
      ));
  });
