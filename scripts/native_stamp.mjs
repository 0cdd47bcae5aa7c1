// Whether the built addon belongs to the sources as they are: a hash of sources and options beside it.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Options of a build, from the environment: cmake -D names. */
export const buildOptions = () => ({
  EMULSION_CUDA: process.env.EMULSION_CUDA ?? 'AUTO',
  EMULSION_CUDA_ARCHITECTURES: process.env.EMULSION_CUDA_ARCHITECTURES ?? '80;86;89;90a;100;120',
  EMULSION_CPU_LEVELS: process.env.EMULSION_CPU_LEVELS ?? '',
  EMULSION_SANITIZE: process.env.EMULSION_SANITIZE ?? '',
});
export const buildFolder = () => process.env.EMULSION_BUILD_DIR ?? 'build';
export const addonFile = () => join(buildFolder(), 'Release', 'emulsion.node');

const stampFile = () => join(buildFolder(), 'Release', 'emulsion.stamp');

export function fingerprint() {
  const hash = createHash('sha256').update(JSON.stringify(buildOptions()));
  const sources = readdirSync('native', { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  for (const file of [...sources, 'CMakeLists.txt', 'binding.gyp'].filter(existsSync).sort())
    hash.update(`\0${file}\0`).update(readFileSync(file));
  return hash.digest('hex');
}

/** An engine is current if it was built from these sources, with these options. */
export const nativeIsCurrent = () =>
  existsSync(addonFile()) &&
  existsSync(stampFile()) &&
  readFileSync(stampFile(), 'utf8') === fingerprint();

/** @param {string} built the fingerprint from before the build: sources may have changed meanwhile. */
export const markNativeCurrent = (built) => writeFileSync(stampFile(), built);
