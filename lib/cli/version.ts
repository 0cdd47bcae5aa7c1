import { createRequire } from 'node:module';

// The package knows itself by its own name, from the sources and from dist/ alike.
const { version } = createRequire(import.meta.url)('emulsion/package.json') as { version: string };

export const packageVersion: string = version;
