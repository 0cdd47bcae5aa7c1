// What a GPU finds wrong while it runs is an error of the next read, and of no later one.
import { describe, expect, test } from 'vitest';
import { embedding, gather, indexSelect, ones, tensor, type Tensor } from '../lib/index.js';
import { availableDevices } from './support/devices.js';

const gpus = availableDevices.filter(({ name }) => name !== 'cpu');

const calls: Record<string, (x: Tensor, ids: Tensor) => Tensor> = {
  embedding: (x, ids) => embedding(x, ids),
  gather: (x, ids) => gather(x, 0, ids.unsqueeze(1)),
  index_select: (x, ids) => indexSelect(x, 0, ids),
};

describe('indices out of range', () => {
  if (gpus.length === 0) test.skip('no device but the CPU', () => {});
  for (const device of gpus)
    for (const [name, call] of Object.entries(calls))
      for (const dtype of ['int32', 'int64'] as const)
        for (const [bad, position] of [
          [5, 2],
          [-1, 70],
        ])
          test(`${name}, ${bad} as ${dtype}, on ${device}`, async () => {
            const ids = Array.from({ length: 80 }, (_, i) => i % 5);
            ids[position] = ids[position + 4] = bad; // the first one is named
            const x = ones([5, 3], { device });
            const y = call(x, tensor(ids, { dtype, device }));
            await expect(y.data()).rejects.toMatchObject({
              code: 'ERR_INDEX_OUT_OF_RANGE',
              message: expect.stringMatching(
                new RegExp(`\\b${name}: index ${bad} at position ${position} is outside 0\\.\\.4`),
              ) as unknown,
            });

            const good = call(x, tensor([4, 0], { dtype, device }));
            expect([...(await good.data())]).toEqual(Array(good.numel).fill(1));
          });
});
