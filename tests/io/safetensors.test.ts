import { readFileSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  DTypeError,
  FileError,
  readSafetensors,
  tensor,
  writeSafetensors,
  zeros,
} from '../../lib/index.js';
import { golden, temporaryFolder } from './temporary.js';

const inFolder = temporaryFolder();

/** A file with this header text and this many bytes of data. */
function fileWith(name: string, header: string | Uint8Array, dataBytes = 0): string {
  const text = Buffer.from(header);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(inFolder(name), Buffer.concat([prefix, text, Buffer.alloc(dataBytes)]));
  return inFolder(name);
}

test('reads every dtype of the golden zoo and refuses the others by name', async () => {
  const zoo = await readSafetensors(golden('checkpoints/tensor_zoo.safetensors'));
  expect(zoo.metadata.get('format')).toBe('pt');
  expect(zoo.info('state_dict.shared_flat')).toEqual({ shape: [24], dtype: 'float32' });
  const read = async (key: string) => [...(await (await zoo.get(`state_dict.${key}`)).data())];
  expect(await read('i64_beyond_2pow53')).toHaveLength(2);
  expect((await read('i64_beyond_2pow53')).some((x) => BigInt(x) > 2n ** 53n)).toBe(true);
  expect(await read('empty')).toEqual([]);
  expect(await read('dt_bool')).toHaveLength(4);
  expect((await read('dt_f32_nan'))[0]).toBeNaN();
  expect((await zoo.get('state_dict.scalar')).shape).toEqual([]);
  // The 16-bit copies hold the same numbers, rounded.
  const exact = await read('dt_f32');
  expect(exact).toContain(Infinity);
  expect(await read('dt_f16')).toHaveLength(exact.length);
  await expect(zoo.get('state_dict.dt_i16')).rejects.toThrow(DTypeError);
  await expect(zoo.get('state_dict.dt_i8')).rejects.toThrow(/dt_i8.*I8.*Supported are F32, BF16/);
  await expect(zoo.get('weight')).rejects.toThrow(/no tensor "weight".*It has state_dict\.dt_i64/);
});

test.each(['bf16', 'fp16_legacy'])(
  '%s: read and written, the file has the same bytes',
  async (name) => {
    const path = golden(`checkpoints/${name}.safetensors`);
    const file = await readSafetensors(path);
    const shuffled = [...file.keys].reverse();
    const tensors = await Promise.all(
      shuffled.map(async (key) => [key, await file.get(key)] as const),
    );
    await writeSafetensors(inFolder(name), new Map(tensors), Object.fromEntries(file.metadata));
    expect(readFileSync(inFolder(name)).equals(readFileSync(path))).toBe(true);
  },
);

test('round trip of every dtype, of strange names and of sources made late', async () => {
  const path = inFolder('round_trip');
  let made = 0;
  const late = {
    shape: [2],
    dtype: 'float32' as const,
    read: () => (made++, tensor([7, 8])),
  };
  await writeSafetensors(
    path,
    {
      'ä "quoted"\n\\': tensor([[1.5, -2]]),
      constructor: tensor([1, 2, 3], { dtype: 'int32' }),
      toString: tensor([true, false], { dtype: 'bool' }),
      half: tensor([65504, 2 ** -24], { dtype: 'float16' }),
      brain: tensor([3.140625], { dtype: 'bfloat16' }),
      double: tensor([Math.PI], { dtype: 'float64' }),
      empty: zeros([0, 3]),
      byte: tensor(Uint8Array.of(0, 255)),
      late,
    },
    { note: 'ünicode' },
  );
  const file = await readSafetensors(path);
  const values = async (key: string) => [...(await (await file.get(key)).data())];
  expect(file.metadata.get('note')).toBe('ünicode');
  expect(await values('ä "quoted"\n\\')).toEqual([1.5, -2]);
  expect(file.info('ä "quoted"\n\\').shape).toEqual([1, 2]);
  expect(await values('constructor')).toEqual([1, 2, 3]);
  expect(await values('toString')).toEqual([1, 0]);
  expect(await values('half')).toEqual([65504, 2 ** -24]);
  expect(await values('brain')).toEqual([3.140625]);
  expect(await values('double')).toEqual([Math.PI]);
  expect(file.info('empty').shape).toEqual([0, 3]);
  expect(await values('byte')).toEqual([0, 255]);
  expect(await values('late')).toEqual([7, 8]);
  expect(made).toBe(1);
});

// What the message must say, for every damaged golden file.
const bad: Record<string, RegExp> = {
  overlap: /tensor "b" overlaps/,
  out_of_range: /after the file's end/,
  offset_reversed: /run backwards/,
  offset_negative: /holds -/,
  offset_float: /holds .*not a possible size/,
  offset_huge: /9223372036854775808/,
  hole: /leaves a gap/,
  trailing_bytes: /4 bytes follow the last tensor/,
  header_length_huge: /header is 9223372036854775807 bytes long/,
  header_length_max: /header is 18446744073709551615 bytes long/,
  header_length_beyond_file: /cut off or not a safetensors file/,
  header_length_short: /byte \d+/,
  header_length_zero: /must begin with "\{"/,
  json_invalid: /"\}" is missing/,
  json_not_object: /must begin with "\{"/,
  json_null_tensor: /a description of tensor "a"/,
  json_bad_utf8: /not valid UTF-8/,
  json_deep: /byte \d+/,
  leading_blank: /must begin with "\{"/,
  duplicate_key: /the name "a" occurs twice/,
  shape_mismatch: /needs 20 bytes, but its data_offsets \[0, 16\] span 16/,
  shape_negative: /holds -/,
  shape_two_negatives: /holds -/,
  shape_overflow: /not a possible size/,
  shape_float: /holds 4\.0/,
  shape_string: /shape of tensor "a" as an array/,
  dtype_unknown: /unknown dtype "F33"/,
  dtype_missing: /has no dtype/,
  metadata_not_strings: /value of metadata/,
  truncated_data: /after the file's end/,
  seven_bytes: /7 bytes are too few/,
  empty_file: /0 bytes are too few/,
};

test.each(Object.entries(bad))('refuses st_%s', async (name, message) => {
  const path = golden(`checkpoints/bad/st_${name}.safetensors`);
  const refusal = await readSafetensors(path).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(FileError);
  expect((refusal as FileError).path).toBe(path);
  expect((refusal as FileError).offset).toBeTypeOf('number');
  expect((refusal as FileError).message).toMatch(message);
});

test('names of object members are ordinary names', async () => {
  const file = await readSafetensors(golden('checkpoints/bad/st_json_proto_key.safetensors'));
  expect(file.keys).toEqual(['__proto__', 'constructor']);
  expect((await file.get('__proto__')).shape).toEqual([4]);
  expect(Object.keys(Object.prototype)).toEqual([]);
});

test('errors point at the byte', async () => {
  const path = fileWith('position', '{"ä":{"dtype":"F32","shape":[1],"data_offsets":[0,4x]}}', 4);
  const refusal = (await readSafetensors(path).catch((error: unknown) => error)) as FileError;
  expect(readFileSync(path)[refusal.offset!]).toBe('x'.charCodeAt(0));
});

test('a duplicate that hides behind an escape, and duplicate fields, are found', async () => {
  const info = '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}';
  const path = fileWith('escaped', `{"a":${info},"\\u0061":${info}}`);
  await expect(readSafetensors(path)).rejects.toThrow(/"a" occurs twice/);
  const field = fileWith(
    'field',
    '{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
  );
  await expect(readSafetensors(field)).rejects.toThrow(/"dtype" occurs twice/);
});

test('a shape whose product overflows is refused', async () => {
  const shape = '[4194304,4194304,4194304]';
  const path = fileWith('product', `{"a":{"dtype":"F32","shape":${shape},"data_offsets":[0,0]}}`);
  await expect(readSafetensors(path)).rejects.toThrow(/impossible shape \[4194304, /);
});

test('a bool byte beyond 1 becomes true', async () => {
  const path = fileWith('bool', '{"a":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}}', 3);
  const bytes = readFileSync(path);
  bytes.set([0, 1, 200], bytes.length - 3);
  writeFileSync(path, bytes);
  expect([...(await (await (await readSafetensors(path)).get('a')).data())]).toEqual([0, 1, 1]);
});

test('damaged headers never do worse than a FileError', async () => {
  const good = readFileSync(golden('checkpoints/tensor_zoo.safetensors'));
  const header = good.subarray(8, 8 + Number(good.readBigUInt64LE())).toString();
  const damage = fc.record({ at: fc.nat(header.length - 1), cut: fc.nat(3), put: fc.string() });
  await fc.assert(
    fc.asyncProperty(damage, async ({ at, cut, put }) => {
      const path = fileWith('damaged', header.slice(0, at) + put + header.slice(at + cut), 2334);
      const outcome = await readSafetensors(path).catch((error: unknown) => error);
      expect(outcome instanceof FileError || !(outcome instanceof Error)).toBe(true);
    }),
    { numRuns: 300 },
  );
});

test('a file that changes after its header was read is not misread', async () => {
  const path = inFolder('replaced');
  await writeSafetensors(path, { a: tensor([1]) });
  const file = await readSafetensors(path);
  await writeSafetensors(path, { a: tensor([2]) });
  await expect(file.get('a')).rejects.toThrow(/replaced or changed/);
});

test('missing files and folders are FileErrors that say so', async () => {
  await expect(readSafetensors(inFolder('nowhere'))).rejects.toThrow(/nowhere.*no such file/);
  await expect(readSafetensors(inFolder('.'))).rejects.toThrow(FileError);
});

test('a tensor that fails while written leaves the old file', async () => {
  const path = inFolder('failing');
  await writeSafetensors(path, { a: tensor([1]) });
  const before = readFileSync(path);
  const broken = {
    shape: [1],
    dtype: 'float32' as const,
    read: () => Promise.reject(new Error('gone')),
  };
  await expect(writeSafetensors(path, { a: tensor([1]), b: broken })).rejects.toThrow('gone');
  expect(readFileSync(path).equals(before)).toBe(true);
  await expect(writeSafetensors(path, { __metadata__: tensor([1]) })).rejects.toThrow(/reserved/);
});

test('a source that gives another tensor than it described leaves the old file', async () => {
  const path = inFolder('described');
  await writeSafetensors(path, { a: tensor([1, 2]) });
  const before = readFileSync(path);
  for (const [read, given] of [
    [() => tensor([1, 2, 3]), 'float32 [3]'],
    [() => tensor([[1, 2]]), 'float32 [1, 2]'],
    [() => tensor([1, 2]).to('float16'), 'float16 [2]'],
  ] as const) {
    const writing = writeSafetensors(path, { a: { shape: [2], dtype: 'float32', read } });
    await expect(writing).rejects.toThrow(
      `"a" was described as float32 [2], but its source read ${given}`,
    );
    expect(readFileSync(path).equals(before)).toBe(true);
  }
});
