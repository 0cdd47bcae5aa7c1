// Bytes of files that hold pictures, whole or in parts.
import { FileError } from '../errors.js';
import { largestPicture } from '../io/decode_image.js';
import { readBytes, withFile } from '../io/positional.js';

/** A file, or the part of it that holds a picture. */
export function readPart(path: string, begin = 0, length?: number): Promise<Buffer> {
  return withFile(path, async (file, size) => {
    const wanted = length ?? size - begin;
    if (wanted > largestPicture)
      throw new FileError(`${wanted} bytes are too many for a picture.`, path, begin);
    if (wanted < 0 || begin + wanted > size)
      throw new FileError(`the file has only ${size} bytes; it changed.`, path, begin);
    return readBytes(path, file, begin, wanted);
  });
}
