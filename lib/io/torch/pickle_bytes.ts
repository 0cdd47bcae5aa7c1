// The bytes of a pickle, read in order. Every length is compared with what is there before it is used.
import { FileError } from '../../errors.js';

// Longer numbers serve only to keep a reader busy.
const longestNumber = 1024;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export class PickleBytes {
  #at = 0;
  #opcodeAt = 0;
  #cut = false;

  /** @param origin position of the first byte in the file */
  constructor(
    readonly path: string,
    readonly bytes: Buffer,
    readonly origin: number,
  ) {}

  /** Position of the next byte in the file. */
  get position(): number {
    return this.origin + this.#at;
  }

  /** Whether more bytes were asked for than there are. */
  get isCutOff(): boolean {
    return this.#cut;
  }

  /** Reads an opcode; errors from now on point at it. */
  opcode(): number {
    this.#opcodeAt = this.#at;
    return this.uint8();
  }

  fail(problem: string): never {
    throw new FileError(`${problem}.`, this.path, this.origin + this.#opcodeAt);
  }

  uint8(): number {
    return this.bytes[this.#take(1)];
  }

  uint16(): number {
    return this.bytes.readUInt16LE(this.#take(2));
  }

  int32(): number {
    return this.bytes.readInt32LE(this.#take(4));
  }

  uint32(): number {
    return this.bytes.readUInt32LE(this.#take(4));
  }

  /** An eight-byte length; what is beyond the pickle is refused when it is used. */
  uint64(): number {
    return Number(this.bytes.readBigUInt64LE(this.#take(8)));
  }

  float64(): number {
    return this.bytes.readDoubleBE(this.#take(8));
  }

  /** A view of the next bytes. */
  view(length: number): Buffer {
    if (length < 0) this.fail(`a length of ${length} is not possible`);
    const begin = this.#take(length);
    return this.bytes.subarray(begin, begin + length);
  }

  copy(length: number): Uint8Array {
    return Uint8Array.from(this.view(length));
  }

  text(length: number): string {
    try {
      return utf8.decode(this.view(length));
    } catch (error) {
      if (error instanceof FileError) throw error;
      return this.fail('a string is not valid UTF-8');
    }
  }

  /** Python 2's strings: text where they are valid UTF-8, bytes otherwise. */
  textOrBytes(length: number): string | Uint8Array {
    const bytes = this.view(length);
    try {
      return utf8.decode(bytes);
    } catch {
      return Uint8Array.from(bytes);
    }
  }

  /** A two's complement integer of this many bytes. */
  integer(length: number): number | bigint {
    if (length > longestNumber) this.fail(`an integer of ${length} bytes is too long`);
    const bytes = this.view(length);
    if (length === 0) return 0;
    const magnitude = BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
    return narrow(BigInt.asIntN(8 * length, magnitude));
  }

  /** Text up to the end of the line, which is skipped. */
  line(): string {
    const end = this.bytes.indexOf(0x0a, this.#at);
    if (end < 0) this.#cutOff();
    const text = this.text(end - this.#at);
    this.#at = end + 1;
    return text;
  }

  /** A decimal integer on a line of its own. */
  decimal(): number | bigint {
    const text = this.line().replace(/L$/, '');
    if (!/^[+-]?[0-9]+$/.test(text) || text.length > longestNumber)
      this.fail(`${JSON.stringify(text.slice(0, 40))} is not an integer`);
    return narrow(BigInt(text.replace(/^\+/, '')));
  }

  /** INT of protocol 0, which writes booleans as 00 and 01. */
  boolOrDecimal(): boolean | number | bigint {
    const next = this.bytes.toString('latin1', this.#at, this.#at + 3);
    const value = this.decimal();
    return next === '00\n' || next === '01\n' ? value === 1 : value;
  }

  /** A float as Python prints it, on a line of its own. */
  decimalFloat(): number {
    const text = this.line().trim();
    const words: Record<string, number> = { nan: NaN, inf: Infinity, '-inf': -Infinity };
    if (Object.hasOwn(words, text)) return words[text];
    // The pattern takes the square of the length in time.
    const readable = text.length <= longestNumber;
    if (!readable || !/^[+-]?[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?$|^[+-]?[0-9]+\.$/.test(text))
      this.fail(`${JSON.stringify(text.slice(0, 40))} is not a number`);
    return Number(text);
  }

  /** A string of protocol 0 on a line of its own. */
  escaped(): string {
    const code = (_: string, digits: string) => String.fromCharCode(parseInt(digits, 16));
    return this.line().replace(/\\u([0-9a-fA-F]{4})/g, code);
  }

  /** A string in quotes as Python prints it, on a line of its own. */
  quoted(): string {
    const text = this.line();
    const match = /^(['"])(.*)\1$/.exec(text);
    if (!match || match[2].includes('\\')) this.fail('a quoted string is damaged or has escapes');
    return match![2];
  }

  #take(length: number): number {
    const begin = this.#at;
    if (length > this.bytes.byteLength - begin) this.#cutOff(length);
    this.#at += length;
    return begin;
  }

  #cutOff(wanted = 1): never {
    this.#cut = true;
    const left = this.bytes.byteLength - this.#at;
    const text = `the pickle is cut off: ${wanted} more bytes are announced where ${left} are left.`;
    throw new FileError(text, this.path, this.position);
  }
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
