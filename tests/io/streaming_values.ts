// What the tensors of the large checkpoint hold: one value each, told by its name.
import { crc32 } from 'node:zlib';

/** A value that float32 has. */
export const valueOf = (name: string): number => (crc32(name) % 65536) / 65536;
