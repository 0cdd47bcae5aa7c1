// A parser for safetensors headers only. JSON.parse would hide duplicate names, round large offsets,
// follow any nesting and report no position; this grammar has two levels and needs none of that.
import { FileError } from '../errors.js';
import { checkCoverage, checkExtent, type Header, type TensorInfo } from './safetensors_format.js';

/**
 * Parses and verifies a header.
 *
 * @param bytes the JSON text
 * @param dataBegin position of its first byte after the header in the file
 * @throws FileError naming the byte or the tensor that breaks the format
 */
export function parseHeader(
  path: string,
  bytes: Uint8Array,
  dataBegin: number,
  fileBytes: number,
): Header {
  return new HeaderParser(path, bytes, dataBegin, fileBytes).parse();
}

class HeaderParser {
  readonly #path: string;
  readonly #text: string;
  readonly #headerBegin: number;
  readonly #dataBegin: number;
  readonly #fileBytes: number;
  #at = 0;

  constructor(path: string, bytes: Uint8Array, dataBegin: number, fileBytes: number) {
    this.#path = path;
    this.#dataBegin = dataBegin;
    this.#headerBegin = dataBegin - bytes.byteLength;
    this.#fileBytes = fileBytes;
    try {
      this.#text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      throw new FileError('the header is not valid UTF-8.', path, this.#headerBegin);
    }
  }

  parse(): Header {
    let metadata = new Map<string, string>();
    const tensors = new Map<string, TensorInfo>();
    if (this.#text[0] !== '{') this.#fail('the header must begin with "{"');
    this.#object((name) => {
      if (name === '__metadata__') metadata = this.#metadata();
      else tensors.set(name, this.#tensor(name));
    });
    this.#skipBlanks();
    if (this.#at < this.#text.length) this.#fail('text follows the end of the header');
    checkCoverage(this.#path, tensors, this.#dataBegin, this.#fileBytes);
    return { metadata, tensors };
  }

  #metadata(): Map<string, string> {
    const metadata = new Map<string, string>();
    this.#object((key) => {
      metadata.set(key, this.#string(`the value of metadata ${JSON.stringify(key)}`));
    });
    return metadata;
  }

  #tensor(name: string): TensorInfo {
    const begin = this.#at;
    const quoted = `tensor ${JSON.stringify(name)}`;
    const failHere = (problem: string): never => {
      this.#at = begin;
      return this.#fail(`${quoted} ${problem}`);
    };
    let fileDType: string | undefined;
    let shape: number[] | undefined;
    let offsets: number[] | undefined;
    this.#object((field) => {
      if (field === 'dtype') fileDType = this.#string(`the dtype of ${quoted}`);
      else if (field === 'shape') shape = this.#integers(`the shape of ${quoted}`);
      else if (field === 'data_offsets') offsets = this.#integers(`data_offsets of ${quoted}`);
      else this.#fail(`${quoted} has the unknown field ${JSON.stringify(field)}`);
    }, `a description of ${quoted}`);
    if (fileDType === undefined) return failHere('has no dtype');
    if (shape === undefined) return failHere('has no shape');
    if (offsets?.length !== 2) return failHere('has no pair of data_offsets');
    const info = { fileDType, shape, begin: offsets[0], end: offsets[1] };
    checkExtent(info, failHere);
    return { ...info, begin: info.begin + this.#dataBegin, end: info.end + this.#dataBegin };
  }

  // Reads an object and hands each name to `member`, which reads the value.
  #object(member: (name: string) => void, what = 'an object'): void {
    const seen = new Set<string>();
    this.#expect('{', what);
    if (this.#next('}')) return;
    do {
      const begin = this.#at;
      const name = this.#string('a name');
      if (seen.has(name)) {
        this.#at = begin;
        this.#fail(`the name ${JSON.stringify(name)} occurs twice`);
      }
      seen.add(name);
      this.#expect(':', `a value for ${JSON.stringify(name)}`);
      member(name);
    } while (this.#next(','));
    this.#expect('}', 'the end of the object');
  }

  #integers(what: string): number[] {
    const values: number[] = [];
    this.#expect('[', `${what} as an array of whole numbers`);
    if (this.#next(']')) return values;
    do values.push(this.#integer(what));
    while (this.#next(','));
    this.#expect(']', `the end of ${what}`);
    return values;
  }

  #integer(what: string): number {
    this.#skipBlanks();
    const token = this.#text.slice(this.#at, this.#at + 40).match(/^-?[0-9][0-9.eE+-]*/)?.[0];
    if (token === undefined) return this.#fail(`${what} must hold whole numbers`);
    const value = /^(0|[1-9][0-9]*)$/.test(token) ? Number(token) : NaN;
    if (!Number.isSafeInteger(value)) {
      this.#fail(`${what} holds ${token}, which is not a possible size or position`);
    }
    this.#at += token.length;
    return value;
  }

  #string(what: string): string {
    this.#skipBlanks();
    const begin = this.#at;
    let end = begin + 1;
    if (this.#text[begin] !== '"') this.#fail(`expected ${what} as a string`);
    while (end < this.#text.length && this.#text[end] !== '"')
      end += this.#text[end] === '\\' ? 2 : 1;
    this.#at = end + 1;
    try {
      return JSON.parse(this.#text.slice(begin, this.#at)) as string; // one string: only escapes
    } catch {
      this.#at = begin;
      return this.#fail(`${what} is not a valid JSON string`);
    }
  }

  #expect(symbol: string, what: string): void {
    if (!this.#next(symbol)) this.#fail(`expected ${what} ("${symbol}" is missing)`);
  }

  #next(symbol: string): boolean {
    this.#skipBlanks();
    if (this.#text[this.#at] !== symbol) return false;
    this.#at++;
    return true;
  }

  #skipBlanks(): void {
    while (' \t\r\n'.includes(this.#text[this.#at] ?? '.')) this.#at++;
  }

  #fail(problem: string): never {
    const offset = this.#headerBegin + Buffer.byteLength(this.#text.slice(0, this.#at));
    throw new FileError(`${problem}.`, this.#path, offset);
  }
}
