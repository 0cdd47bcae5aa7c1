// The emulator finds what it is there to find: kernels of faults/, each wrong in one way, are reported
// with the mistake, the line, the thread and the block; their twins pass, whatever the order of threads.
//
// A line that is wrong ends in a comment, `// wrong: case` (`// also: case` where a second one is
// named).
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const folder = process.env.EMULSION_BUILD_DIR ?? join(root, 'build');
const program = process.env.EMULSION_EMULATOR_FAULTS ?? join(folder, 'Release/emulator_faults');
const isBuilt = existsSync(program);
const seeds = [1, 2, 3, 4];

const run = (name: string, which: 'wrong' | 'right', seed: number) => {
  const { status, stdout, stderr, signal } = spawnSync(program, [name, which], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, EMULSION_EMULATOR_SEED: String(seed) },
  });
  return { status, said: `${stdout}${stderr}${signal ?? ''}` };
};

/** Lines of faults/ that a case's comments mark, as `file:line`. */
function marked(mark: 'wrong' | 'also', name: string): string[] {
  const found: string[] = [];
  for (const file of readdirSync(join(import.meta.dirname, 'faults'))) {
    const lines = readFileSync(join(import.meta.dirname, 'faults', file), 'utf8').split('\n');
    for (const [i, line] of lines.entries()) {
      const names = new RegExp(`// ${mark}: (.*)`).exec(line)?.[1]?.split(', ') ?? [];
      if (names.includes(name)) found.push(`tests/emulator/faults/${file}:${i + 1}`);
    }
  }
  return found;
}

const outOfBounds = /out of bounds: 4 bytes at .* bytes (past the end of|before) a global block/;
const otherReads = /race: another thread (reads what this one writes|writes what this one reads)/;
const sameBytes = /race: another thread writes the same bytes/;
const unwritten = /read of bytes that nothing has written/;
const arriving = /read of bytes that an asynchronous copy is bringing: nothing has waited for it/;
const deadlock = /deadlock: no thread can go on/;
const wrongResult = /^wrong result/;

/** What the report says: one of these, as the order of threads decides. */
const expected: Record<string, RegExp[]> = {
  // bounds.cu
  read_past_end: [outOfBounds],
  write_before_start: [outOfBounds],
  write_into_other_block: [/out of bounds, in a block that no argument of the kernel points to/],
  table_of_released: [/use after release: 4 bytes at byte \d+ of a released global block/],
  misaligned_pack: [/misaligned: 16 bytes at byte \d+ of a global block of 1040 bytes/],
  use_after_release: [/use after release: 4 bytes at byte \d+ of a released global block/],
  unwritten_global: [/read of bytes that nothing has written: 4 bytes at byte \d+ of a global/],
  write_to_host: [/write to host memory/],
  read_from_host: [/read of host memory/],
  read_local: [/local memory of another thread/],
  past_dynamic_shared: [/out of bounds: 4 bytes at byte 252 of 252 bytes of dynamic shared memory/],
  past_shared_array: [/out of bounds: 4 bytes at byte 256 of the shared array of 256 bytes/],
  unwritten_shared: [/nothing has written: 4 bytes at byte 20 of the shared array of 256 bytes/],
  too_much_shared: [/too much shared memory: 16384 bytes of arrays and 92160 dynamic, of 101376/],
  too_much_dynamic: [/too much shared memory: 101380 bytes dynamic, of 101376/],
  array_of_an_instance: [sameBytes],
  // races.cu
  write_write: [sameBytes],
  write_read: [otherReads],
  read_write: [otherReads],
  in_warp: [otherReads],
  shuffle_between: [otherReads],
  other_half: [otherReads],
  writer_reads_last: [otherReads],
  same_byte: [sameBytes],
  word_of_bytes: [otherReads],
  atomic_and_read: [otherReads],
  blocks_write: [
    /race: another block of the grid writes the same bytes.*other is block \(\d, 0, 0\)/,
  ],
  blocks_read: [
    /race: another block of the grid (reads what this one writes|writes what this one reads)/,
  ],
  blocks_count: [
    /race: another block of the grid (reads what this one writes|writes what this one reads)/,
  ],
  halves_of_a_word: [/race: another block of the grid/],
  // copies.cu
  no_wait: [arriving],
  wait_too_short: [arriving],
  no_order: [arriving, otherReads, unwritten],
  early_fetch: [arriving, otherReads],
  written_on_the_way: [/write to bytes that an asynchronous copy is bringing/],
  unwritten_source: [/nothing has written: 16 bytes at byte \d+ of a global block of 7168 bytes/],
  copy_past_end: [
    /out of bounds: 4 bytes at \d+ bytes past the end of a global block of 128 bytes/,
  ],
  returned_without_wait: [arriving, unwritten],
  // collectives.cu
  barrier_divergence: [/barrier divergence: threads of one block wait in __syncthreads at/],
  mask_without_caller: [/a lane takes part that its mask does not name/],
  different_masks: [/lanes of one warp name different masks/],
  different_places: [/lanes of one warp wait for each other at/],
  lane_has_returned: [/deadlock.*a mask names lanes that have returned/],
  half_a_warp: [/deadlock.*a mask names lanes that do not exist/],
  barrier_and_shuffle: [deadlock],
  shuffle_from_outside: [outOfBounds],
  // fragments.cu
  trans_forgotten: [wrongResult],
  lanes_swapped: [wrongResult],
  rows_swapped: [wrongResult],
  accumulator_transposed: [wrongResult],
  tf32_rows_swapped: [wrongResult],
  unaligned_row: [/misaligned: 16 bytes at byte \d+ of the shared array of 512 bytes/],
  global_row: [/not in shared memory: 16 bytes at byte 0 of a global block of 512 bytes/],
  row_past_end: [/out of bounds: 16 bytes at byte 512 of the shared array of 512 bytes/],
  no_barrier: [unwritten, otherReads],
  // lifetimes.cu
  numbers_again: [/race: another block of the grid writes the same bytes/],
  host_threads: [otherReads, unwritten],
  kernel_throws: [/a kernel cannot throw: from thread 3; thread \(3, 0, 0\)/],
  // hopper.cu
  no_full_wait: [arriving, otherReads, unwritten],
  no_empty_wait: [otherReads, sameBytes, /more threads arrive at an mbarrier than it expects/],
  early_release: [otherReads],
  no_init_fence: [/an mbarrier whose initialisation no fence has shown to the copies/],
  no_init_barrier: [/race: another thread writes the same bytes/, unwritten],
  too_many_bytes: [/deadlock.*an mbarrier lacks 0 of 1 arrivals and 16 bytes in phase 0/],
  wrong_parity: [deadlock, arriving, otherReads, unwritten],
  no_fence: [/bytes that a thread has written and no fence.proxy.async has shown/],
  half_fence: [/bytes that a thread has written and no fence.proxy.async has shown/],
  no_sync: [otherReads, unwritten, /no fence.proxy.async has shown/],
  no_store_wait: [/a thread returns while its bulk stores may still read shared memory/],
  no_wgmma_fence: [/wgmma without a wgmma.fence before it/],
  no_wgmma_wait: [otherReads, wrongResult],
  wrong_stride: [wrongResult],
  products_shifted: [wrongResult],
  wrong_barrier_count: [/deadlock.*named barrier 1 has 128 of 256 threads/],
  named_barrier_missing: [otherReads],
};
/** Cases whose fault lies in the launch, or shows in no line. */
const withoutLine = new Set([
  'too_much_shared',
  'too_much_dynamic',
  'half_a_warp',
  'kernel_throws',
  'too_many_bytes',
]);

/** Cases that have no wrong twin. */
const onlyRight = new Set([
  ...['barrier_in_loop', 'arena'],
  ...['products', 'products_half', 'products_tf32', 'products_registers', 'products_transposed'],
]);

describe.skipIf(!isBuilt)('emulated kernels with a fault', () => {
  const names = isBuilt
    ? spawnSync(program, { encoding: 'utf8' }).stdout.split('\n').filter(Boolean)
    : [];

  test('every case says what is expected of it', () => {
    const faults = readdirSync(join(import.meta.dirname, 'faults'));
    expect(faults.filter((file) => file.endsWith('.cu')).length).toBeGreaterThan(4);
    expect(names.filter((name) => !onlyRight.has(name)).sort()).toEqual(
      Object.keys(expected).sort(),
    );
  });

  for (const [name, wordings] of Object.entries(expected)) {
    test(`${name} is reported`, () => {
      for (const seed of seeds) {
        const { status, said } = run(name, 'wrong', seed);
        const where = `seed ${seed}: ${said}`;
        expect(
          wordings.some((wording) => wording.test(said)),
          where,
        ).toBe(true);
        // A kernel that was stopped leaves nothing behind.
        expect(said, where).toContain('right after wrong: passed');
        expect(status, where).toBe(0);
        if (said.startsWith('wrong result') || name === 'too_much_dynamic') continue;
        expect(said, where).toMatch(/block \(\d+, \d+, \d+\) of \S/);
        if (!said.includes('deadlock')) expect(said, where).toMatch(/thread \(\d+, \d+, \d+\) of/);
        if (withoutLine.has(name)) continue;
        const lines = [...marked('wrong', name), ...marked('also', name)];
        expect(lines.length, `${name} marks a line`).toBeGreaterThan(0);
        expect(
          lines.some((line) => said.includes(line)),
          `${where} names one of ${lines}`,
        ).toBe(true);
      }
    });
  }

  test.each(names)('%s done right passes in any order', (name) => {
    for (const seed of seeds) {
      const { status, said } = run(name, 'right', seed);
      expect(said, `seed ${seed}`).toBe('passed\n');
      expect(status).toBe(0);
    }
  });
});

test.skipIf(isBuilt)(`skipped: no ${program}; npm run test:emulated builds it`, () => {});
