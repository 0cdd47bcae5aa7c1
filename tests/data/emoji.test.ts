import { expect, test } from 'vitest';
import { plainBatch } from '../../examples/demo/batches.js';
import { emojiDataset } from '../../examples/demo/dataset.js';
import { loadEmoji, side } from '../../examples/demo/emoji.js';
import { DataLoader } from '../../lib/index.js';
import { take } from './pictures.js';

test("the demo's pictures are the same bits through the loader", async () => {
  const set = await loadEmoji(30);
  const dataset = emojiDataset(set);
  expect(dataset.length).toBe(set.count);
  const loader = new DataLoader(dataset, { batchSize: 4, workers: 0, transform: { size: side } });
  for (const { index, label, values } of await take(loader.batches(), 3)) {
    expect(label).toEqual(index.map((i) => set.category[i]));
    expect(values).toEqual(Array.from(await plainBatch(set, index).data(), Number));
  }
});
