// TensorBoard's event files, written by hand: TFRecord framing around protocol buffers. Field numbers are
// those of TensorFlow's event.proto, summary.proto and tensor.proto.
import { maskedCrc32c } from './crc32c.js';

type Fields = readonly Uint8Array[];

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  // Divided, not shifted: steps may exceed 32 bits.
  for (; value >= 0x80; value = Math.floor(value / 0x80)) bytes.push((value % 0x80) | 0x80);
  return Uint8Array.from([...bytes, value]);
}

const wireType = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

const key = (field: number, type: keyof typeof wireType): Uint8Array =>
  varint((field << 3) | wireType[type]);

const integer = (field: number, value: number): Uint8Array =>
  Buffer.concat([key(field, 'varint'), varint(value)]);

function double(field: number, value: number): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([key(field, 'fixed64'), bytes]);
}

function float(field: number, value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([key(field, 'fixed32'), bytes]);
}

const bytesField = (field: number, value: Uint8Array): Uint8Array =>
  Buffer.concat([key(field, 'bytes'), varint(value.length), value]);

const string = (field: number, value: string): Uint8Array => bytesField(field, Buffer.from(value));

const message = (field: number, ...fields: Fields): Uint8Array =>
  bytesField(field, Buffer.concat(fields));

/** A record: its length, the length's checksum, the bytes, their checksum. */
export function record(data: Uint8Array): Uint8Array {
  const length = Buffer.alloc(12);
  length.writeBigUInt64LE(BigInt(data.length));
  length.writeUInt32LE(maskedCrc32c(length.subarray(0, 8)), 8);
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32LE(maskedCrc32c(data));
  return Buffer.concat([length, data, checksum]);
}

// Event: wall_time 1, step 2, then what happened.
const event = (seconds: number, step: number, what: Uint8Array): Uint8Array =>
  record(Buffer.concat([double(1, seconds), integer(2, step), what]));

/** The first event of every file. @param seconds since 1970, as in all events */
export const versionEvent = (seconds: number): Uint8Array =>
  event(seconds, 0, string(3, 'brain.Event:2'));

/** Tells readers to forget what earlier files say of this step and later ones. */
export const restartEvent = (seconds: number, step: number): Uint8Array =>
  event(seconds, step, message(7, integer(1, 1))); // SessionLog.status = START

// Event.summary = 5, Summary.value = 1, Value.tag = 1.
const summary = (seconds: number, step: number, values: readonly (readonly [string, Fields])[]) =>
  event(
    seconds,
    step,
    message(5, ...values.map(([tag, fields]) => message(1, string(1, tag), ...fields))),
  );

export const scalarsEvent = (
  seconds: number,
  step: number,
  values: Readonly<Record<string, number>>,
): Uint8Array =>
  summary(
    seconds,
    step,
    Object.entries(values).map(([tag, value]) => [tag, [float(2, value)]] as const),
  );

/** @param png an encoded picture of 8-bit RGB */
export function pictureEvent(seconds: number, step: number, tag: string, png: Buffer): Uint8Array {
  // The size stands in PNG's first chunk, behind signature, length and name.
  const [width, height] = [png.readUInt32BE(16), png.readUInt32BE(20)];
  const image = message(
    4,
    integer(1, height),
    integer(2, width),
    integer(3, 3),
    bytesField(4, png),
  );
  return summary(seconds, step, [[tag, [image]]]);
}

export function textEvent(seconds: number, step: number, tag: string, text: string): Uint8Array {
  // A tensor of one string (DT_STRING = 7, one dimension of size 1), marked for the text plugin.
  const tensor = message(8, integer(1, 7), message(2, message(2, integer(1, 1))), string(8, text));
  const metadata = message(9, message(1, string(1, 'text')));
  return summary(seconds, step, [[tag, [metadata, tensor]]]);
}
