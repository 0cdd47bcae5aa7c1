import { defineConfig } from 'vitest/config';

export default defineConfig({
  // Node 20 does not know `using`; tests and library sources are lowered as they load.
  oxc: { target: 'es2022' },
  test: {
    include: ['tests/**/*.test.ts'],
    // A process per file: a crash of the addon fails its file and no other.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
