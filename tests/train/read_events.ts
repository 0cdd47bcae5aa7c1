// A small reader of TensorBoard's event files, independent of the writer: it checks every length and
// checksum, and knows the fields that the tests look at.

interface Value {
  tag: string;
  scalar?: number;
  image?: { height: number; width: number; png: Buffer };
  plugin?: string;
  text?: string;
}

export interface Event {
  wallTime: number;
  step: number;
  fileVersion?: string;
  sessionStatus?: number;
  values?: Value[];
}

// Bit by bit, straight from the definition.
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; ++bit) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

function checkMask(stored: number, bytes: Uint8Array, what: string): void {
  const rotated = (stored - 0xa282ead8) >>> 0;
  const crc = ((rotated << 15) | (rotated >>> 17)) >>> 0;
  if (crc !== crc32c(bytes)) throw new Error(`wrong checksum of ${what}`);
}

function* records(file: Buffer): Generator<Buffer> {
  for (let at = 0; at < file.length;) {
    const length = Number(file.readBigUInt64LE(at));
    checkMask(file.readUInt32LE(at + 8), file.subarray(at, at + 8), 'a length');
    const data = file.subarray(at + 12, at + 12 + length);
    if (data.length !== length) throw new Error('the last record is cut off');
    checkMask(file.readUInt32LE(at + 12 + length), data, 'a record');
    yield data;
    at += 16 + length;
  }
}

/** The fields of a message: number, and a number or bytes. */
function* fields(message: Buffer): Generator<[field: number, value: number | Buffer]> {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = message[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const key = varint();
    const [field, type] = [key >>> 3, key & 7];
    if (type === 0) yield [field, varint()];
    else if (type === 1) yield [field, message.readDoubleLE((at += 8) - 8)];
    else if (type === 5) yield [field, message.readFloatLE((at += 4) - 4)];
    else if (type === 2) {
      const length = varint();
      yield [field, message.subarray(at, (at += length))];
    } else throw new Error(`unknown wire type ${type}`);
  }
}

const all = (message: unknown): Map<number, number | Buffer> => new Map(fields(message as Buffer));

function readValue(message: Buffer): Value {
  const found = all(message);
  const value: Value = { tag: String(found.get(1)) };
  if (found.has(2)) value.scalar = found.get(2) as number;
  if (found.has(4)) {
    const image = all(found.get(4));
    const [height, width] = [image.get(1) as number, image.get(2) as number];
    value.image = { height, width, png: Buffer.from(image.get(4) as Buffer) };
  }
  if (found.has(9)) value.plugin = String(all(all(found.get(9)).get(1)).get(1));
  if (found.has(8)) value.text = String(all(found.get(8)).get(8));
  return value;
}

/** Every event of a file. Throws where it breaks the format. */
export function readEvents(file: Buffer): Event[] {
  return [...records(file)].map((record) => {
    const found = all(record);
    const event: Event = { wallTime: found.get(1) as number, step: found.get(2) as number };
    if (found.has(3)) event.fileVersion = String(found.get(3));
    if (found.has(5))
      event.values = [...fields(found.get(5) as Buffer)].map(([, x]) => readValue(x as Buffer));
    if (found.has(7)) event.sessionStatus = all(found.get(7)).get(1) as number;
    return event;
  });
}
