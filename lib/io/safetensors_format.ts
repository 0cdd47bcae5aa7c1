// The header of the safetensors format: eight bytes of length, then one JSON object. This file parses
// and checks it; no byte of tensor data is touched before every claim in the header has been verified.
import { DTypeError, FileError } from '../errors.js';
import type { DType } from '../dtype.js';

/** One tensor as the header describes it. */
export interface TensorInfo {
  /** The format's own name of the element type, such as `F16`. */
  readonly fileDType: string;
  readonly shape: readonly number[];
  /** Position of the first byte and of the byte after the last, from the start of the file. */
  readonly begin: number;
  readonly end: number;
}

/** What a verified header says. */
export interface Header {
  readonly metadata: ReadonlyMap<string, string>;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
}

/** The length prefix of every file. */
export const prefixBytes = 8;

/** The format's own limit; it keeps a lying prefix from claiming a header of gigabytes. */
export const largestHeader = 100_000_000;

// Every element type of the format with its size in bits, in the order in which its reference writer
// ranks them: a file written here has its tensors where that writer would have put them.
const formatBits: Record<string, number> = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
};
const bitsOf = new Map(Object.entries(formatBits));
const rankOf = new Map([...bitsOf.keys()].map((name, rank) => [name, rank]));

const fileDTypes: Record<DType, string> = {
  float32: 'F32',
  bfloat16: 'BF16',
  float16: 'F16',
  float64: 'F64',
  int32: 'I32',
  int64: 'I64',
  uint8: 'U8',
  bool: 'BOOL',
};
const dtypes = new Map(Object.entries(fileDTypes).map(([ours, theirs]) => [theirs, ours as DType]));

/** The dtype of a tensor of the file; throws for element types that tensors here cannot hold. */
export function dtypeOf(path: string, name: string, info: TensorInfo): DType {
  const dtype = dtypes.get(info.fileDType);
  if (dtype) return dtype;
  throw new DTypeError(
    `readSafetensors: tensor ${JSON.stringify(name)} of ${path} has dtype ${info.fileDType}. ` +
      `Supported are ${[...dtypes.keys()].join(', ')}; convert the tensor before saving it.`,
  );
}

/** Builds the header of a file with these tensors; returns it with the order of their data. */
export function encodeHeader(
  tensors: ReadonlyMap<string, { dtype: DType; shape: readonly number[] }>,
  metadata: Readonly<Record<string, string>>,
): { header: Uint8Array; order: string[] } {
  const entries = [...tensors].map(([name, { dtype, shape }]) => {
    const fileDType = fileDTypes[dtype];
    const bytes = (shape.reduce((a, b) => a * b, 1) * bitsOf.get(fileDType)!) / 8;
    return { name, fileDType, shape, bytes, rank: rankOf.get(fileDType)! };
  });
  // Wide elements first, so that all data is aligned without gaps; then by name, so that the same
  // tensors always give the same file. Code units, not locale: the order must not depend on a machine.
  entries.sort((a, b) => b.rank - a.rank || (a.name < b.name ? -1 : 1));
  const members: string[] = [];
  if (Object.keys(metadata).length > 0) members.push(`"__metadata__":${JSON.stringify(metadata)}`);
  let begin = 0;
  for (const { name, fileDType, shape, bytes } of entries) {
    const value = { dtype: fileDType, shape, data_offsets: [begin, begin + bytes] };
    members.push(`${JSON.stringify(name)}:${JSON.stringify(value)}`);
    begin += bytes;
  }
  const json = Buffer.from(`{${members.join(',')}}`);
  const length = Math.ceil(json.byteLength / 8) * 8;
  const header = Buffer.alloc(prefixBytes + length, ' ');
  header.writeBigUInt64LE(BigInt(length));
  json.copy(header, prefixBytes);
  return { header, order: entries.map((entry) => entry.name) };
}

/** Reads the length prefix; throws unless a header of that length fits into the file. */
export function headerLength(path: string, prefix: Buffer, fileBytes: number): number {
  const length = prefix.readBigUInt64LE();
  if (length > BigInt(Math.max(0, fileBytes - prefixBytes))) {
    const text = `the header is ${length} bytes long, but the file has ${fileBytes} bytes.`;
    throw new FileError(`${text} It is cut off or not a safetensors file.`, path, 0);
  }
  if (length > BigInt(largestHeader)) {
    throw new FileError(
      `the header of ${length} bytes exceeds the limit of ${largestHeader}.`,
      path,
      0,
    );
  }
  return Number(length);
}

/** Checks dtype, shape and extent of one tensor; `begin` and `end` count from the first data byte. */
export function checkExtent(
  { fileDType, shape, begin, end }: TensorInfo,
  fail: (message: string) => never,
): void {
  const bits = bitsOf.get(fileDType);
  if (bits === undefined) fail(`has the unknown dtype ${JSON.stringify(fileDType)}`);
  if (begin > end) fail(`has data_offsets [${begin}, ${end}], which run backwards`);
  let elements = shape.includes(0) ? 0 : 1;
  for (const extent of shape) {
    elements *= extent;
    if (!Number.isSafeInteger(elements * bits!))
      fail(`has an impossible shape [${shape.join(', ')}]`);
  }
  const needed = (elements * bits!) / 8;
  if (needed !== end - begin) {
    const claim = `of shape [${shape.join(', ')}] and dtype ${fileDType} needs ${needed} bytes`;
    fail(`${claim}, but its data_offsets [${begin}, ${end}] span ${end - begin}`);
  }
}

/** Checks that the tensors fill the data section without gap or overlap, as the format demands. */
export function checkCoverage(
  path: string,
  tensors: ReadonlyMap<string, TensorInfo>,
  dataBegin: number,
  fileBytes: number,
): void {
  let end = dataBegin;
  const byPosition = [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  for (const [name, info] of byPosition) {
    const quoted = JSON.stringify(name);
    if (info.end > fileBytes) {
      const text = `tensor ${quoted} ends at byte ${info.end}, after the file's end at ${fileBytes}.`;
      throw new FileError(`${text} The file is cut off or damaged.`, path, info.begin);
    }
    if (info.begin !== end) {
      const kind = info.begin < end ? 'overlaps the tensor before it' : 'leaves a gap before it';
      const text = `tensor ${quoted} ${kind}: it begins at byte ${info.begin} instead of ${end}.`;
      throw new FileError(text, path, info.begin);
    }
    end = info.end;
  }
  if (end !== fileBytes) {
    throw new FileError(`${fileBytes - end} bytes follow the last tensor.`, path, end);
  }
}
