// Vocabularies of a few dozen pieces in the published forms.
import type { ClipVocabulary } from '../../../lib/ldm/conditioning/text/vocabulary.js';

const specials = (id: number): string =>
  ({ 0: '[PAD]', 100: '[UNK]', 101: '[CLS]', 102: '[SEP]', 103: '[MASK]' })[id] ??
  `[unused${id - 1}]`;

/** Lines of a vocab.txt: ids from 104 on. */
export const bertLines = [
  ...Array.from({ length: 104 }, (_, id) => specials(id)),
  ...[
    'a',
    'fox',
    '##es',
    'un',
    '##aff',
    '##able',
    '##able##',
    ',',
    '!',
    "'",
    's',
    'cafe',
    '東',
    '京',
    '-',
  ],
];

// The pieces of CLIP are written in a byte alphabet; these bytes stand for themselves.
const letters = [
  'a',
  'd',
  'e',
  'f',
  'h',
  'l',
  'o',
  'r',
  's',
  't',
  'x',
  '1',
  '2',
  "'",
  '!',
  ',',
  'Ã',
  '©',
];

const merges: [string, string][] = [
  ['f', 'o'],
  ['fo', 'x</w>'],
  ['r', 'e'],
  ['re', 'd</w>'],
  ['t', 'h'],
  ['th', 'e</w>'],
  ['Ã', '©</w>'],
  ["'", 's</w>'],
  ['l', 'l'],
];

const pieces = [
  ...letters,
  ...letters.map((letter) => `${letter}</w>`),
  ...merges.map((pair) => pair.join('')),
  '<|startoftext|>',
  '<|endoftext|>',
];

export const tinyClip: ClipVocabulary = {
  kind: 'clip',
  pieces: new Map(pieces.map((piece, id) => [piece, id])),
  merges,
};
