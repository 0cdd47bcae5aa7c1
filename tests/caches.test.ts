// Kernels plan by the sizes of the caches, and nothing that they compute depends on them.
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { engineInfo } from '../lib/index.js';

async function node(setting: string, ...program: string[]): Promise<string> {
  const env = { ...process.env, EMULSION_CPU_CACHES: setting };
  const flags = ['--import', './scripts/typescript.mjs'];
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, ...program], { env });
  return stdout;
}

const caches = (setting: string): Promise<string> =>
  node(
    setting,
    '-e',
    `import('./lib/index.ts').then(
       ({ engineInfo }) => console.log(JSON.stringify(engineInfo().caches)),
       ({ message }) => console.log(message));`,
  );

// What Linux says of the first core: bytes of a level, and how many threads share them.
const folder = '/sys/devices/system/cpu/cpu0/cache';
function described(): { level: number; bytes: number; sharing: number }[] {
  if (!existsSync(folder)) return [];
  const indices = readdirSync(folder).filter((name) => name.startsWith('index'));
  return indices.flatMap((index) => {
    const read = (name: string): string =>
      readFileSync(`${folder}/${index}/${name}`, 'utf8').trim();
    if (read('type') === 'Instruction') return [];
    const ranges = read('shared_cpu_list').split(',');
    const sharing = ranges.map((range) => range.split('-').map(Number));
    return {
      level: Number(read('level')),
      bytes: parseInt(read('size')) * 1024,
      sharing: sharing.reduce((sum, [first, end = first]) => sum + end - first + 1, 0),
    };
  });
}

test.skipIf(!described().some(({ level }) => level === 2))(
  'the system says how large they are',
  () => {
    const second = described().find(({ level }) => level === 2)!;
    const last = described().reduce((a, b) => (b.level >= a.level ? b : a));
    const clamp = (bytes: number, least: number, most: number): number =>
      Math.max(least * 1024, Math.min(bytes, most * 1024));
    expect(engineInfo().caches).toEqual({
      core: clamp(Math.floor(second.bytes / second.sharing), 128, 4096),
      last: clamp(last.bytes, 512, 65536),
    });
  },
);

test('a setting says otherwise, as far as plans go', async () => {
  expect(JSON.parse(await caches('512,8192'))).toEqual({ core: 512 * 1024, last: 8192 * 1024 });
  expect(JSON.parse(await caches('1,999999'))).toEqual({ core: 128 * 1024, last: 64 * 2 ** 20 });
});

test.for(['abc', '512', '512,', '0,5', '512,256', '512,8192x'])(
  '%s is no setting',
  async (text) => {
    expect(await caches(text)).toContain(
      `EMULSION_CPU_CACHES=${text} is not two sizes in KiB, a core's own cache and the last one, such as 1024,32768`,
    );
  },
);

describe('the same bits', () => {
  const program = ['tests/support/digest_cases.ts'];
  const products = ['conv2d', 'linear', 'matmul', 'nearestCodes'];
  const norms = ['groupNorm', 'batchNorm', 'layerNorm', 'softmax', 'logSoftmax'];
  const ops = [...products, ...norms, 'add', 'silu', 'geglu', 'cast'];
  const digests = async (setting: string): Promise<Record<string, string>> =>
    JSON.parse(await node(setting, ...program, ...ops)) as Record<string, string>;
  const expected = digests('1024,32768');

  test.for(['128,512', '256,4096', '4096,65536'])('with caches of %s KiB', async (setting) => {
    expect(await digests(setting)).toEqual(await expected);
    expect(Object.keys(await expected).length).toBeGreaterThan(150);
  });
});
