// A closed interpreter of Python's pickles (protocols 0 to 5). It builds plain data and calls nothing: what
// the file names is looked up in the list of globals.ts, and of every other class or function the name is kept.
import { construct, type Machine } from './globals.js';
import type { PickleBytes } from './pickle_bytes.js';
import { Opaque, PythonName, type CheckpointMap, type CheckpointValue } from './values.js';

// A value here takes more memory than its opcode in the file: this bounds all of it to less than a
// gigabyte, and allows some fifty thousand tensors.
const mostOpcodes = 2_000_000;

// What calls may copy beside that, in bytes.
const mostCopied = 2 ** 26;

// About what an entry of a container takes.
const itemBytes = 32;

// Of a class or function with its module; errors quote it.
const longestName = 500;

const newestProtocol = 5;

/**
 * Reads one pickled object; `bytes` stands behind its end afterwards.
 *
 * @param persistent makes what the container keeps outside of the pickle
 * @throws FileError with the byte when the pickle is damaged or asks for what it may not
 */
export function unpickle(
  bytes: PickleBytes,
  persistent: (id: CheckpointValue) => CheckpointValue,
): CheckpointValue {
  return new Unpickler(bytes, persistent).run();
}

class Unpickler implements Machine {
  readonly records = new WeakSet<CheckpointMap>();
  readonly #bytes: PickleBytes;
  readonly #persistent: (id: CheckpointValue) => CheckpointValue;
  readonly #stack: CheckpointValue[] = [];
  /** heights of the stack at the open marks */
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, CheckpointValue>();
  #copied = 0;

  constructor(bytes: PickleBytes, persistent: (id: CheckpointValue) => CheckpointValue) {
    this.#bytes = bytes;
    this.#persistent = persistent;
  }

  fail(problem: string): never {
    return this.#bytes.fail(problem);
  }

  spend(bytes: number): void {
    this.#copied += bytes;
    if (this.#copied > mostCopied) this.fail('the pickle copies its own values again and again');
  }

  spendItems(count: number): void {
    this.spend(count * itemBytes);
  }

  run(): CheckpointValue {
    for (let count = 0; count < mostOpcodes; count++) {
      const opcode = this.#bytes.opcode();
      if (opcode === 0x2e /* '.' STOP */) return this.#pop();
      const step = steps.get(opcode);
      if (!step) this.fail(`0x${opcode.toString(16).padStart(2, '0')} is not an opcode`);
      step(this, this.#bytes);
    }
    return this.fail(`the pickle has more than ${mostOpcodes} opcodes`);
  }

  push(value: CheckpointValue): void {
    this.#stack.push(value);
  }

  mark(): void {
    this.#marks.push(this.#stack.length);
  }

  /** The values above the last mark, which goes with them. */
  popMarked(): CheckpointValue[] {
    const height = this.#marks.pop();
    if (height === undefined) return this.fail('the opcode needs a mark, but none is set');
    return this.#stack.splice(height);
  }

  popCount(count: number): CheckpointValue[] {
    this.#need(count);
    return this.#stack.splice(this.#stack.length - count);
  }

  /** Takes the top value away, or the last mark if nothing lies above it. */
  discard(): void {
    if (this.#marks.length > 0 && this.#marks.at(-1) === this.#stack.length) this.#marks.pop();
    else this.#pop();
  }

  top(): CheckpointValue {
    this.#need(1);
    return this.#stack.at(-1)!;
  }

  put(index: number): void {
    this.#memo.set(index, this.top());
  }

  memoize(): void {
    this.put(this.#memo.size);
  }

  get(index: number): void {
    const value = this.#memo.get(index);
    if (value === undefined) this.fail(`the memo has no entry ${index}`);
    this.push(value!);
  }

  call(): void {
    const [callee, args] = this.popCount(2);
    if (!Array.isArray(args)) this.fail('a call has no tuple of arguments');
    this.push(construct(this, callee, args as CheckpointValue[]));
  }

  // What is known takes no arguments by name.
  callNamed(keywords: CheckpointMap): void {
    const [callee, args] = this.popCount(2);
    if (!(callee instanceof PythonName)) return this.fail('what is called is no class or function');
    this.push(new Opaque(callee.toString(), [args, keywords]));
  }

  append(items: CheckpointValue[]): void {
    const list = this.top();
    if (list instanceof Opaque) return this.#enclose(list, items);
    if (!Array.isArray(list)) return this.fail('values are appended to what is not a list');
    for (const item of items) list.push(item);
  }

  add(items: CheckpointValue[]): void {
    const set = this.top();
    if (set instanceof Opaque) return this.#enclose(set, items);
    if (!(set instanceof Set)) return this.fail('values are added to what is not a set');
    for (const item of items) set.add(item);
  }

  setItems(items: CheckpointValue[]): void {
    const map = this.top();
    if (map instanceof Opaque) return this.#enclose(map, items);
    if (!(map instanceof Map)) return this.fail('items are set on what is not a dictionary');
    this.#fill(map, items);
  }

  dictionary(items: CheckpointValue[]): void {
    const map: CheckpointMap = new Map();
    this.#fill(map, items);
    this.push(map);
  }

  /** Gives the object below the top the attributes on top. */
  build(): void {
    const [state] = this.popCount(1);
    const target = this.top();
    if (target instanceof Opaque) return this.#enclose(target, [state]);
    // A data type of NumPy: its byte order comes as a state.
    if (target instanceof PythonName && target.module === 'numpy.dtype') {
      if (!Array.isArray(state) || !['<', '|', '='].includes(state[1] as string))
        this.fail('a NumPy data type is not little-endian');
      return;
    }
    if (!(target instanceof Map)) return this.fail('attributes are set on what has none');
    // Objects with __slots__ give a pair: the dictionary, and the slots.
    const parts = Array.isArray(state) && state.length === 2 ? state : [state];
    for (const part of parts) {
      if (part === null) continue;
      if (!(part instanceof Map)) return this.fail('attributes are no dictionary');
      this.spendItems(part.size);
      for (const [name, value] of part) {
        if (typeof name !== 'string') this.fail('an attribute has no name');
        if ((name as string).startsWith('__'))
          this.fail(`the attribute ${(name as string).slice(0, 60)} is refused`);
        // A dictionary's own attributes, such as the _metadata of a state, are of no use here.
        if (this.records.has(target)) target.set(name, value);
      }
    }
  }

  persistent(): void {
    const [id] = this.popCount(1);
    try {
      this.push(this.#persistent(id));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.fail(error.message);
    }
  }

  #pop(): CheckpointValue {
    return this.popCount(1)[0];
  }

  #need(count: number): void {
    if (this.#stack.length - (this.#marks.at(-1) ?? 0) < count) {
      this.fail('the opcode takes more values than the stack holds');
    }
  }

  #enclose({ parts }: Opaque, items: readonly CheckpointValue[]): void {
    for (const item of items) parts.push(item);
  }

  #fill(map: CheckpointMap, items: CheckpointValue[]): void {
    if (items.length % 2 !== 0) this.fail('a dictionary gets a key without a value');
    for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1]);
  }
}

type Step = (m: Unpickler, b: PickleBytes) => void;

const nameOf = (m: Unpickler, module: CheckpointValue, name: CheckpointValue): PythonName => {
  if (typeof module !== 'string' || typeof name !== 'string') return m.fail('a name is no string');
  if (module.length + name.length > longestName) return m.fail('the name of a class is too long');
  return new PythonName(module, name);
};

const callMarked = (m: Unpickler, callee: CheckpointValue, args: CheckpointValue[]): void =>
  m.push(construct(m, callee, args));

const refuse =
  (what: string): Step =>
  (m) =>
    m.fail(`${what} is refused: it could stand for anything`);

// Every opcode by its character or number, in the order of Python's pickletools.
const table: [string | number, Step][] = [
  // numbers
  ['I', (m, b) => m.push(b.boolOrDecimal())],
  ['J', (m, b) => m.push(b.int32())],
  ['K', (m, b) => m.push(b.uint8())],
  ['M', (m, b) => m.push(b.uint16())],
  ['L', (m, b) => m.push(b.decimal())],
  [0x8a, (m, b) => m.push(b.integer(b.uint8()))],
  [0x8b, (m, b) => m.push(b.integer(b.int32()))],
  ['F', (m, b) => m.push(b.decimalFloat())],
  ['G', (m, b) => m.push(b.float64())],
  // strings and bytes
  ['S', (m, b) => m.push(b.quoted())],
  ['T', (m, b) => m.push(b.textOrBytes(b.int32()))],
  ['U', (m, b) => m.push(b.textOrBytes(b.uint8()))],
  ['B', (m, b) => m.push(b.copy(b.uint32()))],
  ['C', (m, b) => m.push(b.copy(b.uint8()))],
  [0x8e, (m, b) => m.push(b.copy(b.uint64()))],
  [0x96, (m, b) => m.push(b.copy(b.uint64()))],
  ['V', (m, b) => m.push(b.escaped())],
  ['X', (m, b) => m.push(b.text(b.uint32()))],
  [0x8c, (m, b) => m.push(b.text(b.uint8()))],
  [0x8d, (m, b) => m.push(b.text(b.uint64()))],
  // constants
  ['N', (m) => m.push(null)],
  [0x88, (m) => m.push(true)],
  [0x89, (m) => m.push(false)],
  // lists, tuples, dictionaries, sets
  [']', (m) => m.push([])],
  ['a', (m) => m.append(m.popCount(1))],
  ['e', (m) => m.append(m.popMarked())],
  ['l', (m) => m.push(m.popMarked())],
  [')', (m) => m.push([])],
  ['t', (m) => m.push(m.popMarked())],
  [0x85, (m) => m.push(m.popCount(1))],
  [0x86, (m) => m.push(m.popCount(2))],
  [0x87, (m) => m.push(m.popCount(3))],
  ['}', (m) => m.dictionary([])],
  ['d', (m) => m.dictionary(m.popMarked())],
  ['s', (m) => m.setItems(m.popCount(2))],
  ['u', (m) => m.setItems(m.popMarked())],
  [0x8f, (m) => m.push(new Set())],
  [0x90, (m) => m.add(m.popMarked())],
  [0x91, (m) => m.push(new Set(m.popMarked()))],
  // stack and memo
  ['0', (m) => m.discard()],
  ['2', (m) => m.push(m.top())],
  ['(', (m) => m.mark()],
  ['1', (m) => void m.popMarked()],
  ['g', (m, b) => m.get(Number(b.decimal()))],
  ['h', (m, b) => m.get(b.uint8())],
  ['j', (m, b) => m.get(b.uint32())],
  ['p', (m, b) => m.put(Number(b.decimal()))],
  ['q', (m, b) => m.put(b.uint8())],
  ['r', (m, b) => m.put(b.uint32())],
  [0x94, (m) => m.memoize()],
  // names and objects
  ['c', (m, b) => m.push(nameOf(m, b.line(), b.line()))],
  [
    0x93,
    (m) => {
      const [module, name] = m.popCount(2);
      m.push(nameOf(m, module, name));
    },
  ],
  ['R', (m) => m.call()],
  [0x81, (m) => m.call()],
  [
    0x92,
    (m) => {
      const [keywords] = m.popCount(1);
      if (!(keywords instanceof Map)) return m.fail('a class gets no named arguments');
      if (keywords.size > 0) m.callNamed(keywords);
      else m.call();
    },
  ],
  ['b', (m) => m.build()],
  ['i', (m, b) => callMarked(m, nameOf(m, b.line(), b.line()), m.popMarked())],
  [
    'o',
    (m) => {
      const [callee, ...args] = m.popMarked();
      callMarked(m, callee ?? null, args);
    },
  ],
  ['Q', (m) => m.persistent()],
  // the frame of protocol 4 only announces how many bytes follow
  [0x95, (_, b) => void b.uint64()],
  [
    0x80,
    (m, b) => {
      const protocol = b.uint8();
      if (protocol > newestProtocol)
        m.fail(`protocol ${protocol} is unknown; the newest is ${newestProtocol}`);
    },
  ],
  ['P', refuse('a persistent id as text')],
  [0x82, refuse('the extension registry (EXT1)')],
  [0x83, refuse('the extension registry (EXT2)')],
  [0x84, refuse('the extension registry (EXT4)')],
  [0x97, refuse('a buffer outside of the pickle (NEXT_BUFFER)')],
  [0x98, refuse('a buffer outside of the pickle (READONLY_BUFFER)')],
];
const steps = new Map(
  table.map(([code, step]) => [typeof code === 'string' ? code.charCodeAt(0) : code, step]),
);
