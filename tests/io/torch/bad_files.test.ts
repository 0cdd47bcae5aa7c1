// Every damaged or hostile golden file, and many more made by chance.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { EmulsionError, FileError, openCheckpoint } from '../../../lib/index.js';
import { golden, temporaryFolder } from '../temporary.js';

const inFolder = temporaryFolder();
const bad = (name: string) => golden(`checkpoints/bad/${name}.ckpt`);

// What the message must say. Reading a tensor counts: some damage shows only there.
const refused: Record<string, RegExp> = {
  pickle_os_system_legacy: /"x" is made by posix\.system/,
  pickle_eval: /"w" is made by __builtin__\.eval, which is not on the list/,
  pickle_getattr_chain: /what was saved is made by builtins\.getattr/,
  pickle_in_metadata_build: /the attribute __setstate__ is refused/,
  pickle_stack_global_proto4: /made by posix\.system/,
  pickle_numpy_load: /made by numpy\.load/,
  pickle_inst_opcode: /made by posix\.system/,
  pickle_ext_opcode: /extension registry/,
  pickle_bare: /a pickle, but no checkpoint/,
  pickle_truncated: /the pickle is cut off/,
  pickle_no_stop: /the pickle is cut off/,
  pickle_stack_underflow: /more values than the stack holds/,
  pickle_memo_missing: /the memo has no entry 99/,
  pickle_huge_string_length: /2147483647 more bytes are announced where 4 are left/,
  pickle_huge_long: /an integer of 2147483647 bytes/,
  pickle_negative_long4: /a length of -1/,
  pickle_unknown_opcode: /0xff is not an opcode/,
  pickle_proto_99: /protocol 99 is unknown/,
  tensor_storage_short: /has 12 bytes, but 4 elements of float32 are declared/,
  tensor_storage_long: /has 64 bytes, but 4 elements/,
  tensor_storage_empty: /has 0 bytes, but 4 elements/,
  tensor_storage_missing: /no storage "7"/,
  tensor_size_exceeds_storage: /needs 8 elements, but its storage has 4/,
  tensor_offset_exceeds_storage: /needs 5 elements, but its storage has 4/,
  tensor_stride_exceeds_storage: /needs 6 elements, but its storage has 4/,
  tensor_negative_size: /shape \[-1\].*no possible size/,
  tensor_negative_stride: /strides \[-1\].*no possible size/,
  tensor_negative_offset: /offset -1 .*no possible size/,
  tensor_absurd_shape: /impossible number of elements/,
  tensor_absurd_shape_stride0: /tensor "w" repeats its elements to 4398046511104 bytes/,
  tensor_overflow_product: /impossible number of elements/,
  tensor_rank_mismatch: /not one stride for each axis/,
  tensor_numel_absurd: /1152921504606846976 elements is not possible/,
  tensor_numel_negative: /-4 elements is not possible/,
  tensor_unknown_storage_type: /torch\.Tensor stands where a storage class should/,
  tensor_key_path_traversal: /storage key ".*secret" is no number/,
  zip_truncated_half: /no directory at its end: the file is cut off/,
  zip_truncated_tail: /no directory at its end/,
  zip_truncated_4_bytes: /no directory at its end/,
  zip_empty_file: /it has 0 bytes/,
  zip_no_data_pkl: /has no data\.pkl/,
  zip_two_roots: /holds 2 checkpoints in one/,
  zip_duplicate_entry: /two entries of the same name/,
  zip_crc_mismatch: /checksum of archive\/data\/0 does not match/,
  zip_central_directory_offset: /cannot begin at byte 2147483647/,
  zip_local_header_offset: /data\.pkl" at byte 2147483632 .* runs past the end/,
  zip_entry_size_lie: /with 2147483647 bytes runs past the end/,
  zip_entry_count_lie: /announces 60000 entries but lists 4/,
  zip_deflated: /is compressed \(method 8\).*zip -0/,
  zip_deflate_bomb: /is compressed \(method 8\)/,
  legacy_truncated: /ends inside of storage/,
  legacy_truncated_header: /the pickle is cut off/,
  legacy_bad_magic: /a pickle, but no checkpoint/,
  legacy_storage_size_huge: /has 2305843009213693952 elements where 4 are declared/,
  legacy_storage_size_negative: /has -1 elements where 4 are declared/,
  not_a_checkpoint: /neither a checkpoint of PyTorch nor safetensors/,
};

/** Opens a checkpoint and reads all of it. */
async function readAll(path: string): Promise<number[][]> {
  const checkpoint = await openCheckpoint(path);
  const values: number[][] = [];
  for (const key of checkpoint.keys) {
    const tensor = await checkpoint.get(key);
    values.push([...(await tensor.data())].map(Number));
    tensor.dispose();
  }
  return values;
}

test.each(Object.entries(refused))('refuses %s', async (name, message) => {
  const refusal = await readAll(bad(name)).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(FileError);
  expect((refusal as FileError).path).toBe(bad(name));
  expect((refusal as FileError).message).toMatch(message);
  expect(existsSync('golden_pickle_was_executed')).toBe(false);
});

// Strange, but with one meaning only.
const read: Record<string, number[][]> = {
  pickle_os_system_zip: [[1, 1]],
  pickle_deep_nesting: [],
  pickle_memo_bomb: [],
  pickle_self_reference: [],
  pickle_trailing_garbage: [[0, 0, 0, 0]],
  zip_big_endian: [[1, 2, 3, 4]],
};

test.each(Object.entries(read))('reads %s', async (name, values) => {
  expect(await readAll(bad(name))).toEqual(values);
  expect(existsSync('golden_pickle_was_executed')).toBe(false);
});

/** Damages one to four places: other bytes, bytes left out, bytes repeated, the end cut off. */
function mutate(bytes: Buffer, random: () => number): Buffer {
  let result = Buffer.from(bytes);
  const position = () => Math.floor(random() * result.length);
  for (let count = 1 + Math.floor(random() * 4); count > 0 && result.length > 0; count--) {
    const [at, length] = [position(), 1 + Math.floor(random() * 8)];
    const kind = random();
    if (kind < 0.6) result[at] = Math.floor(random() * 256);
    else if (kind < 0.75)
      result = Buffer.concat([result.subarray(0, at), result.subarray(at + length)]);
    else if (kind < 0.9)
      result = Buffer.concat([result.subarray(0, at + length), result.subarray(at)]);
    else if (kind < 0.95) result.fill(0xff, at, Math.min(at + length, result.length));
    else result = result.subarray(0, at);
  }
  return result;
}

/** The same archive without checksums, which would hide most damage from what comes after them. */
function withoutChecksums(bytes: Buffer): Buffer {
  const result = Buffer.from(bytes);
  for (let at = result.indexOf('PK\x01\x02'); at >= 0; at = result.indexOf('PK\x01\x02', at + 1))
    result.writeUInt32LE(0, at + 16);
  return result;
}

/** mulberry32: the same damage in every run. */
function generator(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let x = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

const fuzzed = [
  'tensor_zoo.ckpt',
  'tensor_zoo_legacy.ckpt',
  'tensor_zoo_protocol4.ckpt',
  'lpips_lin_legacy.pth',
  'zip_variant_zip64.ckpt',
  'zip_variant_torch17.ckpt',
];

test.each(fuzzed)('%s, damaged at random, is read or refused', async (name) => {
  const good = withoutChecksums(readFileSync(golden(`checkpoints/${name}`)));
  const random = generator(7);
  // The front, where pickle and headers are, gets most of it.
  const front = good.subarray(0, name.includes('zoo') ? 3500 : 700);
  let refusals = 0;
  for (let run = 0; run < 150; run++) {
    const damaged =
      run % 3 === 0
        ? mutate(good, random)
        : Buffer.concat([mutate(front, random), good.subarray(front.length)]);
    const path = inFolder(`${run}-${name}`);
    writeFileSync(path, damaged);
    const outcome = await readAll(path).catch((error: unknown) => error);
    if (outcome instanceof Error) {
      expect(outcome, outcome.stack).toBeInstanceOf(EmulsionError);
      refusals++;
    }
  }
  expect(refusals).toBeGreaterThan(30);
});
