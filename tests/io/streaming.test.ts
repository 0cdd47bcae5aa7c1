// Large checkpoints pass through memory tensor by tensor: a file of 221 MB, as PyTorch writes it, is converted and
// loaded by a process whose memory is watched.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { buildFirstStage, firstStagePresets } from '../../lib/index.js';
import { writeFileAtomic } from '../../lib/io/atomic.js';
import { writeZip } from '../../lib/io/zip_writer.js';
import { root } from '../support/source_tree.js';
import { valueOf } from './streaming_values.js';
import { temporaryFolder } from './temporary.js';

const file = temporaryFolder();
const MiB = 2 ** 20;
const preset = 'kl-f4';

type Shapes = ReadonlyMap<string, readonly number[]>;

const countOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** What `torch.save` makes of a dictionary of float32 tensors: protocol 2, a storage for each. */
function pickleOf(shapes: Shapes): Buffer {
  const int = (value: number): Buffer => {
    const bytes = Buffer.from('J....');
    bytes.writeInt32LE(value, 1);
    return bytes;
  };
  const text = (value: string): Buffer => {
    const bytes = Buffer.from(`X....${value}`);
    bytes.writeUInt32LE(bytes.length - 5, 1);
    return bytes;
  };
  const tuple = (...items: (Buffer | string)[]): (Buffer | string)[] => ['(', ...items, 't'];
  const state = [...shapes].flatMap(([name, shape], i) => {
    const strides = shape.map((_, axis) => countOf(shape.slice(axis + 1)));
    const type = 'ctorch\nFloatStorage\n';
    const storage = tuple(text('storage'), type, text(`${i}`), text('cpu'), int(countOf(shape)));
    const [sizes, steps] = [shape, strides].map((values) => tuple(...values.map(int)));
    const hooks = 'ccollections\nOrderedDict\n)R';
    const parts = tuple(...storage, 'Q', int(0), ...sizes, ...steps, '\x89', hooks);
    return [text(name), 'ctorch._utils\n_rebuild_tensor_v2\n', ...parts, 'R'];
  });
  const parts = ['\x80\x02}(', ...state, 'u.'];
  return Buffer.concat(parts.map((x) => (typeof x === 'string' ? Buffer.from(x, 'latin1') : x)));
}

async function writeCheckpoint(path: string, shapes: Shapes): Promise<void> {
  const pickle = pickleOf(shapes);
  const storages = [...shapes].map(([name, shape], i) => ({
    name: `archive/data/${i}`,
    size: 4 * countOf(shape),
    parts: (function* () {
      yield Buffer.from(new Float32Array(countOf(shape)).fill(valueOf(name)).buffer);
    })(),
  }));
  const first = { name: 'archive/data.pkl', size: pickle.length, parts: [pickle] };
  await writeFileAtomic(path, (append) => writeZip(append, [first, ...storages]));
}

function shapesOfPreset(): Shapes {
  const model = buildFirstStage(firstStagePresets[preset]);
  const shapes = new Map([...model.exportState()].map(([name, { shape }]) => [name, shape]));
  model.dispose();
  return shapes;
}

// The peak of a process is read where Linux tells it.
test.runIf(process.platform === 'linux')(
  'converting and loading a checkpoint hold no tensor twice',
  async () => {
    const shapes = shapesOfPreset();
    const sizes = [...shapes.values()].map((shape) => 4 * countOf(shape));
    const [bytes, largest] = [sizes.reduce((a, b) => a + b), Math.max(...sizes)];
    expect(bytes).toBeGreaterThan(200 * MiB);
    await writeCheckpoint(file('large.ckpt'), shapes);
    const command = ['--import', './scripts/typescript.mjs', 'tests/io/streaming_child.ts'];
    const args = [...command, file('large.ckpt'), file('large.safetensors'), preset];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root });
    const { converting, loading, tensors } = JSON.parse(stdout) as Record<string, number>;
    expect(tensors).toEqual([shapes.size, shapes.size]);
    // What was read waits to be collected, the engine keeps freed blocks, and code is compiled.
    const beside = 144 * MiB;
    expect(converting).toBeLessThan(largest + beside);
    expect(loading).toBeLessThan(bytes + largest + beside);
  },
  300_000,
);
