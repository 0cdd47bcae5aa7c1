import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import {
  FileError,
  loadConfig,
  openModel,
  saveModel,
  tensor,
  withPrefix,
} from '../../lib/index.js';
import { temporaryFolder } from './temporary.js';

const inFolder = temporaryFolder();

test('saves configuration, weights and moving average, and opens them again', async () => {
  const folder = inFolder('nested/model');
  const config = { type: 'unet', channels: [1, 2], nothing: null };
  const weights = new Map([['out.2.weight', tensor([[1, 2]])]]);
  const ema = new Map([['out.2.weight', tensor([[3, 4]])]]);
  await saveModel(folder, { config, weights, ema });
  const model = await openModel(folder);
  expect(model.config).toEqual(config);
  expect(model.weights.metadata.get('format')).toBe('pt');
  expect([...(await (await model.weights.get('out.2.weight')).data())]).toEqual([1, 2]);
  expect([...(await (await model.ema!.get('out.2.weight')).data())]).toEqual([3, 4]);
});

test('a model without moving average has none', async () => {
  await saveModel(inFolder('plain'), { config: {}, weights: new Map() });
  expect((await openModel(inFolder('plain'))).ema).toBeNull();
});

test('saving again without moving average takes the old one away', async () => {
  const folder = inFolder('again');
  const weights = new Map([['a', tensor([1])]]);
  await saveModel(folder, { config: {}, weights, ema: weights });
  await saveModel(folder, { config: {}, weights });
  expect((await openModel(folder)).ema).toBeNull();
});

test('a model that cannot be read to its end leaves the one that was there', async () => {
  const folder = inFolder('replaced');
  const state = (value: number) => new Map([['a', tensor([value])]]);
  await saveModel(folder, { config: { version: 1 }, weights: state(1), ema: state(1) });
  const read = () => Promise.reject(new Error('the checksum does not match'));
  const broken = new Map([['a', { shape: [1], dtype: 'float32' as const, read }]]);
  const saving = saveModel(folder, { config: { version: 2 }, weights: state(2), ema: broken });
  await expect(saving).rejects.toThrow('the checksum does not match');
  const model = await openModel(folder);
  expect(model.config).toEqual({ version: 1 });
  for (const file of [model.weights, model.ema!])
    expect([...(await (await file.get('a')).data())]).toEqual([1]);
  expect(readdirSync(folder)).toHaveLength(3);
});

test('a configuration that is no plain data leaves nothing behind', async () => {
  const config = { size: 1n };
  const weights = new Map([['a', tensor([1])]]);
  await expect(saveModel(inFolder('bad'), { config, weights })).rejects.toThrow(TypeError);
  expect(existsSync(inFolder('bad'))).toBe(false);
});

test('configurations are checked as text from outside', async () => {
  const write = (name: string, text: string) => {
    mkdirSync(inFolder(name));
    writeFileSync(inFolder(`${name}/config.json`), text);
    return loadConfig(inFolder(name));
  };
  await expect(write('cut', '{"a":')).rejects.toThrow(FileError);
  await expect(write('proto', '{"a":{"__proto__":{"b":1}}}')).rejects.toThrow(/__proto__/);
  await expect(loadConfig(inFolder('none'))).rejects.toThrow(/config\.json.*no such file/);
});

test('withPrefix shows a part of a file under shorter names', async () => {
  const weights = new Map([
    ['first_stage_model.encoder.weight', tensor([1])],
    ['model.weight', tensor([2])],
  ]);
  await saveModel(inFolder('prefix'), { config: {}, weights });
  const part = withPrefix((await openModel(inFolder('prefix'))).weights, 'first_stage_model.');
  expect(part.keys).toEqual(['encoder.weight']);
  expect(part.has('encoder.weight') && !part.has('weight')).toBe(true);
  expect(part.info('encoder.weight').shape).toEqual([1]);
  expect([...(await (await part.get('encoder.weight')).data())]).toEqual([1]);
});
