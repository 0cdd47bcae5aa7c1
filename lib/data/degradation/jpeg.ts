// What JPEG leaves of a picture.
import sharp from 'sharp';
import type { Pixels } from '../pixels.js';

/**
 * The picture encoded and decoded again: libjpeg's standard tables, colours at half the resolution (4:2:0). The bytes
 * are those of cv2.imencode and cv2.imdecode of OpenCV 5.0.
 *
 * @param quality libjpeg's, 1 to 100
 */
export async function throughJpeg(image: Pixels, quality: number): Promise<Pixels> {
  const { data, width, height, channels } = image;
  const raw = { width, height, channels: channels as 1 | 3 };
  const encoded = await sharp(data, { raw })
    .jpeg({ quality, chromaSubsampling: '4:2:0' })
    .toBuffer();
  const decoded = await sharp(encoded)
    .toColourspace(channels === 1 ? 'b-w' : 'srgb')
    .raw()
    .toBuffer();
  return { ...image, data: decoded };
}
