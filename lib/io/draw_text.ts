// A text drawn on white in lines that fit: what a caption or a class asks for, to be looked at.
import type { Tensor } from '../tensor.js';
import { drawing, escaped, type DrawingSize } from './drawing.js';

/** Lines of a drawing as wide as high; few enough that they can be read. */
const lines = 12;
const leading = 1.3;
/** Of a letter for its height, in most fonts rather less. */
const letterWidth = 0.55;

/**
 * What does not fit is cut off, with an ellipsis.
 * @returns [height, width, 3] in [-1, 1]
 */
export function drawText(text: string, size: DrawingSize): Promise<Tensor> {
  const { width, height } = size;
  const fontSize = Math.min(width, height) / lines / leading;
  const [columns, rows] = [
    Math.floor((width - fontSize) / (letterWidth * fontSize)),
    Math.floor((height - fontSize) / (leading * fontSize)),
  ];
  const all = wrapped(text, columns);
  const shown = all.length > rows ? [...all.slice(0, rows - 1), '…'] : all;
  const drawn = shown.map((line, i) => {
    const y = fontSize * (1.2 + leading * i);
    return `<text x="${fontSize / 2}" y="${y}">${escaped(line)}</text>`;
  });
  return drawing(drawn, size, fontSize);
}

/** @internal Words in lines of at most so many letters; longer words are broken. */
export function wrapped(text: string, columns: number): string[] {
  const found: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/).flatMap((each) => pieces(each, columns))) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (longer.length <= columns) {
      line = longer;
      continue;
    }
    found.push(line);
    line = word;
  }
  return line === '' ? found : [...found, line];
}

const pieces = (word: string, length: number): string[] =>
  Array.from({ length: Math.ceil(word.length / length) }, (_, i) =>
    word.slice(i * length, (i + 1) * length),
  );
