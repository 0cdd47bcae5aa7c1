import { defineConfig } from 'vitest/config';

/** Tests that measure: they run after the others, one at a time, so that nothing disturbs them. */
const timed = ['tests/event_loop.test.ts', 'tests/memory.test.ts'];
/** Need the emulator, which `npm run test:emulated` builds before it runs them. */
const emulator = process.env.EMULSION_TEST_DEVICES ? [] : ['tests/emulator/**'];
/** Compiles the engine anew, with every core: after all others, which it would disturb. */
const compiling = ['tests/scripts/node_gyp.test.ts'];
const project = (name: string, test: object) => ({
  extends: true as const,
  test: { name, ...test },
});

export default defineConfig({
  // Node 20 does not know `using`; tests and library sources are lowered as they load.
  oxc: { target: 'es2022' },
  test: {
    // A process per file: a crash of the addon fails its file and no other.
    pool: 'forks',
    // So that the library's worker threads, which vitest does not load, start from their sources too.
    execArgv: ['--import', './scripts/typescript.mjs'],
    // Trainings and whole networks take a minute or two of two slow cores.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    projects: [
      project('tests', {
        include: ['tests/**/*.test.ts'],
        exclude: [...timed, ...compiling, ...emulator],
        maxWorkers: 2,
      }),
      project('timed', { include: timed, maxWorkers: 1, sequence: { groupOrder: 1 } }),
      project('compiling', { include: compiling, sequence: { groupOrder: 2 } }),
    ],
  },
});
