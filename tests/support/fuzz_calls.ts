// Started by tests/fuzz.test.ts in a process of its own, because what it looks for is a crash.
//   fuzz_calls.ts native|ops SEED RUNS LOG
// native: random junk into every function of the addon, then arguments of the right kinds but random
// shapes, dtypes and numbers, so that calls get past the conversion and into the kernels' own checks.
// ops: random tensors into the cases of every op. LOG holds the call under way. Prints what it did.
import { openSync, writeSync } from 'node:fs';
import fc from 'fast-check';
import { device, dtypes, EmulsionError, full, keep, Tensor, tidy } from '../../lib/index.js';
import { addon } from '../../lib/native.js';
import { loadOpCases } from './load_cases.js';
import { asList } from './run_case.js';

const [mode, seedText, runsText, logFile] = process.argv.slice(2);
const seed = Number(seedText);
const runs = Number(runsText);
const log = openSync(logFile, 'w');
const cpu = device('cpu');

const shapes = [
  [],
  [0],
  [1],
  [3],
  [2, 3],
  [3, 2],
  [4, 4],
  [1, 4, 4],
  [2, 3, 4],
  [2, 4, 4, 3],
  [3, 3, 3, 4],
];
const pool = dtypes.flatMap((dtype) =>
  shapes.map((shape) => keep(full(shape, 1, { dtype, device: cpu }))),
);
const disposed = pool.map((x) => {
  const copy = full(x.shape, 0, { dtype: x.dtype, device: cpu });
  const { id } = copy;
  copy.dispose();
  return { copy, id };
});

const counts = { functions: 0, calls: 0, refused: 0 };

function note(call: string): void {
  writeSync(log, call.slice(0, 500).padEnd(500) + '\n', 0);
}

/** Runs one call to its end; whatever it throws must be the library's own. */
async function attempt(call: string, body: () => unknown): Promise<EmulsionError | null> {
  note(call);
  counts.calls++;
  let refusal: EmulsionError | null = null;
  const expectTyped = (error: unknown) => {
    if (!(error instanceof EmulsionError)) throw new Error(`${call} threw ${String(error)}`);
    if (error.message.length < 10) throw new Error(`${call}: no message: '${error.message}'`);
    refusal = error;
  };
  try {
    const result = body();
    if (result instanceof Promise) await result;
  } catch (error) {
    expectTyped(error);
  }
  try {
    cpu.synchronizeSync(); // a fault of the kernel itself
  } catch (error) {
    expectTyped(error);
  }
  if (refusal) counts.refused++;
  return refusal;
}

const show = (value: unknown): string => {
  if (typeof value === 'function') return 'function';
  if (ArrayBuffer.isView(value)) return `${value.constructor.name}(${value.byteLength} bytes)`;
  if (Array.isArray(value))
    return `[${Array.from({ length: value.length }, (_, i) => peek(value, i))}]`;
  return typeof value === 'object' && value !== null ? 'object' : String(value);
};
const peek = (array: unknown[], i: number): string => {
  try {
    return String(array[i]);
  } catch {
    return 'a getter that throws';
  }
};

// --- Arguments ---

const anyId = fc.nat(pool.length - 1).map((i) => pool[i].id);
const deadId = fc.constantFrom(...disposed.map(({ id }) => id));
const numbers = fc.constantFrom(
  ...[-1, 0, 1, 2, 3, 5, 8, 0.5, -0, 1e-8, NaN, Infinity, -Infinity],
  ...[1e9, 2 ** 31, -(2 ** 31), 2 ** 53, -(2 ** 53), 2 ** 63, 1e300],
);
const trap = (): unknown[] => {
  const array: unknown[] = [0, 1];
  Object.defineProperty(array, 1, {
    get() {
      throw new EmulsionError('thrown by a getter');
    },
  });
  return array;
};
const junk = fc.oneof(
  { weight: 6, arbitrary: anyId },
  { weight: 2, arbitrary: deadId },
  { weight: 4, arbitrary: numbers },
  { weight: 2, arbitrary: fc.array(fc.oneof(anyId, numbers), { maxLength: 10 }) },
  fc.array(fc.anything({ maxDepth: 1 }), { maxLength: 4 }),
  fc.constantFrom(null, undefined, true, false, '', 'junk', '7', 7n, {}, Symbol('junk')),
  fc.constantFrom(new Float32Array(3), new Uint8Array(0), new Float64Array(12), new ArrayBuffer(8)),
  fc.constantFrom(() => 1, new Proxy([], {}), new Array(100_000)),
  fc.constant(null).map(trap),
);

const smallIntegers = fc.integer({ min: -2, max: 9 });
type Kind = 'tensor' | 'boolean' | 'array' | 'integer' | 'number';
/** What the addon's messages say that an argument must be, and a value that passes as one. */
const kinds: [RegExp, Kind, unknown][] = [
  [/tensor's id/, 'tensor', pool[0].id],
  [/boolean/, 'boolean', true],
  [/array/, 'array', []],
  [/integer/, 'integer', 1],
  [/number/, 'number', 1],
];

/** Arguments of the right kinds. Tensors are mostly of one shape and dtype, so that some calls run. */
function typedArguments(parameters: readonly Kind[]): fc.Arbitrary<unknown[]> {
  return anyId.chain((theme) => {
    const id = fc.oneof({ weight: 3, arbitrary: fc.constant(theme) }, anyId);
    const number = fc.oneof({ weight: 3, arbitrary: smallIntegers }, numbers);
    const values: Record<Kind, fc.Arbitrary<unknown>> = {
      tensor: fc.oneof({ weight: 20, arbitrary: id }, fc.constant(null)),
      boolean: fc.boolean(),
      array: fc.oneof(fc.array(number, { maxLength: 6 }), fc.array(id, { maxLength: 4 })),
      integer: number,
      number,
    };
    return fc.tuple(...parameters.map((kind) => values[kind]));
  });
}

/** Learns a kernel's parameters from its refusals, one position at a time. */
async function signature(name: string, kernel: (...args: unknown[]) => unknown): Promise<Kind[]> {
  const parameters: Kind[] = [];
  const args: unknown[] = [];
  for (let tries = 0; tries < 64; tries++) {
    const call = `${name}(${args.map(show).join(', ')}) to learn`;
    const message = (await attempt(call, () => kernel(...args)))?.message ?? '';
    if (/expected at least \d+ arguments/.test(message)) {
      parameters.push('tensor'); // until the kernel says otherwise
      args.push(pool[0].id);
      continue;
    }
    const found = /argument (\d+): expected an? (.*)/.exec(message);
    const kind = found && kinds.find(([pattern]) => pattern.test(found[2]));
    const position = Number(found?.[1]);
    if (!kind || !(position < args.length) || parameters[position] === kind[1]) break;
    [, parameters[position], args[position]] = kind;
  }
  return parameters;
}

// --- The two modes ---

async function fuzzNative(): Promise<void> {
  const functions = Object.entries(addon).filter(
    // It replaces the maker of errors that the rest of the run relies on.
    ([name, value]) => typeof value === 'function' && name !== 'setErrorFactory',
  ) as [string, (...args: unknown[]) => unknown][];
  const threads = addon.engine().threads;
  for (const [name, body] of functions) {
    counts.functions++;
    const lists = fc.sample(fc.array(junk, { maxLength: 12 }), { seed, numRuns: runs });
    // Measuring takes as long as it is told to; junk is enough there.
    const typed = name.startsWith('measure_') ? [] : await signature(name, body);
    if (typed.length > 0)
      lists.push(...fc.sample(typedArguments(typed), { seed, numRuns: 2 * runs }));
    for (const args of lists) {
      if (name.startsWith('release') && args.some((arg) => pool.some((x) => x.id === arg)))
        continue;
      await attempt(`${name}(${args.map(show).join(', ')})`, () => {
        const result = body(...args);
        if (name === 'empty' || name === 'view') addon.release(result as number);
        return result;
      });
    }
    // An open recording or a small limit would refuse everything that follows.
    await attempt('cancelCapture()', () => addon.cancelCapture());
    addon.setMemoryLimit(cpu.index, -1);
  }
  addon.setNumThreads(threads);
  addon.tf32(false);
}

async function fuzzOps(): Promise<void> {
  const anyTensor = fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...pool) },
    fc.constantFrom(...disposed.map(({ copy }) => copy)),
  );
  for (const { op, cases } of await loadOpCases()) {
    counts.functions++;
    for (const opCase of cases) {
      if (opCase.bench === 'only') continue;
      const names = Object.keys(opCase.inputs);
      const inputs = fc.record(Object.fromEntries(names.map((name) => [name, anyTensor])));
      for (const given of fc.sample(inputs, { seed, numRuns: runs })) {
        const call = `${op}(${Object.values(given).map(String).join(', ')})`;
        await attempt(call, () =>
          tidy(async () => {
            const outputs = asList(opCase.run(given, { dtype: 'float32', device: cpu }));
            for (const output of outputs) if (output instanceof Tensor) await output.data();
          }),
        );
      }
    }
  }
}

await (mode === 'native' ? fuzzNative() : fuzzOps());

// The engine still computes, and nothing that was refused kept its memory.
const probe = full([1000], 2.5, { device: cpu });
if (!(await probe.data()).every((value) => value === 2.5))
  throw new Error('the engine computes wrong');
console.log(JSON.stringify(counts));
