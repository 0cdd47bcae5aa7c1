import { execFileSync } from 'node:child_process';
import { closeSync, copyFileSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { expect, test } from 'vitest';
import {
  AutoencoderKL,
  autoencoderConfig,
  DTypeError,
  openCheckpoint,
  permute,
  PythonName,
  readSafetensors,
  TensorRef,
  withPrefix,
  writeSafetensors,
  type CheckpointMap,
  type CheckpointValue,
  type OriginalParams,
  type Tensor,
} from '../../lib/index.js';
import { writeFileAtomic } from '../../lib/io/atomic.js';
import { bytesOf } from '../../lib/io/tensor_bytes.js';
import { writeZip } from '../../lib/io/zip_writer.js';
import { golden, temporaryFolder } from './temporary.js';

const inFolder = temporaryFolder();
const file = (name: string) => golden(`checkpoints/${name}`);

/** Every tensor of a checkpoint under its path in the golden twin: state and data alike. */
async function everyTensor(path: string, prefix: string): Promise<Map<string, TensorRef | string>> {
  const { keys, data } = await openCheckpoint(path);
  const found = new Map<string, TensorRef | string>(keys.map((key) => [prefix + key, key]));
  const walk = (name: string, value: CheckpointValue) => {
    if (value instanceof TensorRef) found.set(name, value);
    if (!(value instanceof Map) && !Array.isArray(value)) return;
    for (const [key, member] of value.entries()) {
      const text = key instanceof PythonName ? key.name : String(key as string | number);
      walk(name === '' ? text : `${name}.${text}`, member);
    }
  };
  walk('', data);
  return found;
}

const twins: [string, string, string][] = [
  ['bf16.ckpt', 'bf16', 'state_dict.'],
  ['fp16_legacy.ckpt', 'fp16_legacy', 'state_dict.'],
  ['ldm_layout.ckpt', 'ldm_layout', 'state_dict.'],
  ['ldm_layout_legacy.ckpt', 'ldm_layout', 'state_dict.'],
  ['lpips_lin_legacy.pth', 'lpips_lin_legacy', ''],
  ['tensor_zoo.ckpt', 'tensor_zoo', 'state_dict.'],
  ['tensor_zoo_legacy.ckpt', 'tensor_zoo', 'state_dict.'],
  ['tensor_zoo_protocol4.ckpt', 'tensor_zoo', 'state_dict.'],
  ['zip_variant_comment.ckpt', 'zip_variants', ''],
  ['zip_variant_prefix_name.ckpt', 'zip_variants', ''],
  ['zip_variant_torch17.ckpt', 'zip_variants', ''],
  ['zip_variant_zip64.ckpt', 'zip_variants', ''],
];

test.each(twins)(
  '%s holds the tensors of its safetensors twin, bit for bit',
  async (name, twin, prefix) => {
    const checkpoint = await openCheckpoint(file(name));
    const expected = await readSafetensors(file(`${twin}.safetensors`));
    const found = await everyTensor(file(name), prefix);
    expect([...found.keys()].sort()).toEqual([...expected.keys].sort());
    const same = async (key: string, tensor: Promise<Tensor>) => {
      const other = await expected.get(key);
      expect((await tensor).shape, key).toEqual(other.shape);
      expect((await tensor).dtype, key).toBe(other.dtype);
      expect(Buffer.compare(await bytesOf(await tensor), await bytesOf(other)), key).toBe(0);
    };
    for (const [path, ref] of found) {
      if (path.endsWith('dt_i16') || path.endsWith('dt_i8')) continue;
      await same(path, typeof ref === 'string' ? checkpoint.get(ref) : ref.read());
    }
  },
);

test('what tensors cannot hold is listed and refused by name', async () => {
  const zoo = await openCheckpoint(file('tensor_zoo.ckpt'));
  expect(zoo.has('dt_i16')).toBe(true);
  expect(() => zoo.info('dt_i16')).toThrow(DTypeError);
  await expect(zoo.get('dt_i8')).rejects.toThrow(/tensor "dt_i8" .* int8\. Supported are float32/);
  await expect(zoo.get('weight')).rejects.toThrow(/no tensor "weight".*It has plain, base/);
});

const harmless = 'cdatetime\ndatetime\n(Vx\ntR';
const tensorOf = (rebuild: string) =>
  `ctorch._utils\n${rebuild}\n((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI2\ntQI0\n(I2\nt(I1\ntI00\nNtR`;

test('objects of unknown classes are in the way of nothing but themselves', async () => {
  const written = async (name: string, pickle: string) => {
    const entry = (path: string, bytes: Buffer) => {
      return { name: `x/${path}`, size: bytes.length, parts: [bytes] };
    };
    const storage = Buffer.from(Float32Array.of(1, 2).buffer);
    const entries = [entry('data.pkl', Buffer.from(pickle)), entry('data/0', storage)];
    await writeFileAtomic(inFolder(name), (append) => writeZip(append, entries));
    return openCheckpoint(inFolder(name));
  };
  const [plain, odd] = ['_rebuild_tensor_v2', '_rebuild_sparse_tensor'].map(tensorOf);
  const state = `(Va\n${plain}Vb\n${odd}Vmade\n${harmless}d`;
  const wrapped = await written('wrapped', `(Vstate_dict\n${state}Vdate\n${harmless}d.`);
  for (const checkpoint of [wrapped, await written('bare', `${state}.`)]) {
    expect(checkpoint.keys).toEqual(['a', 'b']);
    expect([...(await (await checkpoint.get('a')).data())]).toEqual([1, 2]);
    await expect(checkpoint.get('b')).rejects.toThrow(
      /"b" is made by torch\._utils\._rebuild_sparse_tensor, which is not on the list/,
    );
  }
  expect(String((wrapped.data as CheckpointMap).get('date'))).toBe('<datetime.datetime>');

  // A network itself, or a state of its own class, is not passed over.
  const network = `cnets\nNet\n)R(Vweight\n${plain}db`;
  for (const [name, pickle, told] of [
    ['saved', network, 'what was saved is made by nets.Net'],
    ['model', `(Vmodel\n${network}Vb\n${plain}d`, undefined],
    ['own', `(Vstate_dict\n${network}Voptimizer\n${plain}d`, '"state_dict" is made by nets.Net'],
    ['alone', `(Vdate\n${harmless}d`, '"date" is made by datetime.datetime'],
  ] as const) {
    const opening = written(name, `${pickle}.`);
    if (told) await expect(opening).rejects.toThrow(told);
    else await expect((await opening).get('model')).rejects.toThrow('"model" is made by nets.Net');
  }

  const script = { name: 'x/constants.pkl', size: 0, parts: [] };
  await writeFileAtomic(inFolder('script'), (append) => writeZip(append, [script]));
  await expect(openCheckpoint(inFolder('script'))).rejects.toThrow(/TorchScript.*torch\.jit\.load/);
});

test('plain data keeps its kinds', async () => {
  const { data } = await openCheckpoint(file('tensor_zoo.ckpt'));
  const nested = (data as CheckpointMap).get('nested') as CheckpointMap;
  const get = (key: string) => nested.get(key);
  expect(get('tuple')).toEqual([1, 2.5, null, true, 'text', Uint8Array.from(Buffer.from('bytes'))]);
  expect([...(get('int_keys') as CheckpointMap).keys()]).toEqual([0, 1]);
  expect(get('big_int')).toBe(2n ** 70n);
  expect(get('neg')).toBe(-5);
  expect(get('unicode')).toBe('zähler-Ω-😀');
  expect(get('set')).toEqual(new Set([1, 2]));
  expect(get('size')).toEqual([2, 3]);
  expect(String(get('dtype') as PythonName)).toBe('torch.float16');
});

test("Lightning's layout: the state without its wrapper, the rest as data", async () => {
  for (const name of ['ldm_layout.ckpt', 'ldm_layout_legacy.ckpt']) {
    const checkpoint = await openCheckpoint(file(name));
    const data = checkpoint.data as CheckpointMap;
    expect(checkpoint.info('betas').dtype).toBe('float32');
    expect(data.has('state_dict')).toBe(false);
    expect(data.get('global_step')).toBe(1234);
    const [[callback, state]] = [...(data.get('callbacks') as CheckpointMap)];
    expect(callback).toBeInstanceOf(PythonName);
    expect((state as CheckpointMap).get('monitor')).toBe('val/loss_simple_ema');
    const first = withPrefix(checkpoint, 'first_stage_model.');
    expect(first.keys).toContain('decoder.conv_in.weight');
  }
});

test('safetensors come through the same door', async () => {
  const checkpoint = await openCheckpoint(file('zip_variants.safetensors'));
  expect(checkpoint.keys).toEqual(['c', 'a', 'b']);
  expect(checkpoint.data).toEqual(new Map([['format', 'pt']]));
  expect((await checkpoint.get('a')).shape).toEqual(checkpoint.info('a').shape);
  const damaged = golden('checkpoints/bad/st_header_length_huge.safetensors');
  await expect(openCheckpoint(damaged)).rejects.toThrow(/header is 9223372036854775807 bytes/);
});

test('a safetensors header whose length looks like the start of a pickle', async () => {
  const path = inFolder('ambiguous');
  // 0x0280 bytes of header: the file begins with the bytes of PROTO 2
  await writeSafetensors(path, {}, { note: 'x'.repeat(0x280 - 29) });
  expect(readFileSync(path).readUInt16BE()).toBe(0x8002);
  expect((await openCheckpoint(path)).keys).toEqual([]);
});

test('a closed checkpoint, and one that was replaced, are not read', async () => {
  const path = inFolder('replaced.ckpt');
  copyFileSync(file('zip_variant_comment.ckpt'), path);
  const checkpoint = await openCheckpoint(path);
  await checkpoint.get('a');
  writeFileSync(path, readFileSync(path));
  await expect(checkpoint.get('a')).rejects.toThrow(/replaced or changed/);
  await checkpoint.close();
  await expect(checkpoint.get('a')).rejects.toThrow(/was closed/);
});

/** An archive by hand whose storages begin at the given positions; what lies between is a hole. */
function sparseArchive(path: string, positions: readonly number[], byteOrder?: string): void {
  const file = openSync(path, 'w');
  const write = (bytes: Buffer, at: number) => writeSync(file, bytes, 0, bytes.length, at);
  const directory: Buffer[] = [];
  const entry = (name: string, content: Buffer, at: number) => {
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50);
    local.writeUInt16LE(name.length, 26);
    write(Buffer.concat([local, Buffer.from(name), content]), at);
    const central = Buffer.alloc(46 + name.length + 12);
    central.writeUInt32LE(0x02014b50);
    central.writeUInt32LE(content.length, 20);
    central.writeUInt32LE(content.length, 24);
    central.writeUInt16LE(name.length, 28);
    central.writeUInt16LE(12, 30);
    central.writeUInt32LE(0xffffffff, 42);
    central.write(name, 46);
    central.writeUInt16LE(1, 46 + name.length);
    central.writeUInt16LE(8, 48 + name.length);
    central.writeBigUInt64LE(BigInt(at), 50 + name.length);
    directory.push(central);
    return at + 30 + name.length + content.length;
  };
  const tensors = positions.map(
    (_, i) =>
      `Vw${i}\nctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nFloatStorage\nV${i}\nVcpu\nI1\ntQI0\n(I1\nt(I1\ntI00\nNtRs`,
  );
  const untyped =
    'Vbytes\nctorch._utils\n_rebuild_tensor_v3\n((Vstorage\nctorch.storage\nUntypedStorage\nV0\nVcpu\nI4\ntQI0\n(I2\nt(I1\ntI00\nNctorch\nfloat16\ntRs';
  if (byteOrder) tensors.push(untyped);
  if (byteOrder) entry('big/byteorder', Buffer.from(byteOrder), 2 ** 20);
  let end = entry('big/data.pkl', Buffer.from(`(d${tensors.join('')}.`), 0);
  positions.forEach((at, i) => {
    end = entry(`big/data/${i}`, Buffer.from(Float32Array.of(i + 0.5).buffer), at);
  });
  const listed = Buffer.concat(directory);
  const record = Buffer.alloc(56 + 20 + 22);
  record.writeUInt32LE(0x06064b50);
  record.writeBigUInt64LE(BigInt(directory.length), 32);
  record.writeBigUInt64LE(BigInt(listed.length), 40);
  record.writeBigUInt64LE(BigInt(end), 48);
  record.writeUInt32LE(0x07064b50, 56);
  record.writeBigUInt64LE(BigInt(end + listed.length), 64);
  record.writeUInt32LE(0x06054b50, 76);
  write(Buffer.concat([listed, record]), end);
  closeSync(file);
}

test('storages beyond the first four gigabytes', async () => {
  const path = inFolder('huge.ckpt');
  sparseArchive(path, [2 ** 31, 2 ** 32 + 4096, 2 ** 33 + 1]);
  const checkpoint = await openCheckpoint(path);
  for (const [i, key] of checkpoint.keys.entries())
    expect(await (await checkpoint.get(key)).item()).toBe(i + 0.5);
  expect(checkpoint.keys).toEqual(['w0', 'w1', 'w2']);
});

test('storages without a type of their own, in either byte order', async () => {
  // 0.5 in float32 is 00 00 00 3f: in float16 0 and 1.75, and as big-endian 0 and 3.75e-6
  for (const [byteOrder, expected] of [
    ['little', [0, 1.75]],
    ['big', [0, 63 * 2 ** -24]],
  ] as const) {
    const path = inFolder(`${byteOrder}.ckpt`);
    sparseArchive(path, [2 ** 21], byteOrder);
    const checkpoint = await openCheckpoint(path);
    expect([...(await (await checkpoint.get('bytes')).data())]).toEqual(expected);
  }
});

test('missing files, folders and other files say so', async () => {
  await expect(openCheckpoint(inFolder('nowhere'))).rejects.toThrow(/no such file/);
  await expect(openCheckpoint(inFolder('.'))).rejects.toThrow(/is a folder/);
  execFileSync('mkfifo', [inFolder('pipe')]);
  await expect(openCheckpoint(inFolder('pipe'))).rejects.toThrow(/is a pipe or device/);
  await expect(openCheckpoint(golden('checkpoints/bad/not_a_checkpoint.ckpt'))).rejects.toThrow(
    /neither a checkpoint of PyTorch nor safetensors.*<!DOCTYPE html>/,
  );
  const pointer = ['version https://git-lfs.github.com/spec/v1', 'oid sha256:00', 'size 1', ''];
  writeFileSync(inFolder('pointer.ckpt'), pointer.join('\n'));
  await expect(openCheckpoint(inFolder('pointer.ckpt'))).rejects.toThrow(/git lfs pull/);
});

test("a first stage decodes with the weights of a latent diffusion model's checkpoint", async () => {
  const checkpoint = await openCheckpoint(file('ldm_functional_fp16.ckpt'));
  const reference = await readSafetensors(file('ldm_functional_fp16.golden.safetensors'));
  const config = JSON.parse(reference.metadata.get('config')!) as {
    first_stage_config: { params: OriginalParams };
  };
  const model = new AutoencoderKL(autoencoderConfig(config.first_stage_config.params));
  await model.importState(withPrefix(checkpoint, 'first_stage_model.'));
  const scale = await (await checkpoint.get('scale_factor')).item();
  const latents = permute(await reference.get('out.ema.z'), [0, 2, 3, 1]);
  const image = permute(model.decode(latents.div(scale)), [0, 3, 1, 2]);
  const expected = await (await reference.get('out.ema.image')).data();
  const worst = Math.max(
    ...[...(await image.data())].map((x, i) => Math.abs(Number(x) - Number(expected[i]))),
  );
  expect(worst).toBeLessThan(3e-5 * Math.max(...[...expected].map((x) => Math.abs(Number(x)))));
});
