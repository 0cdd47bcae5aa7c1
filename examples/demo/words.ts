// Captions as numbers: one per known word.
export const captionLength = 12;
/** The id that fills what a caption leaves empty. */
export const padding = 0;

/** Maps words to ids. 0 pads; words that no training caption has are left out. */
export class WordTokenizer {
  private readonly ids: Map<string, number>;

  /** @param words in the order of their ids, from 1 on. */
  constructor(readonly words: readonly string[]) {
    this.ids = new Map(words.map((word, i) => [word, i + 1]));
  }

  /** Every word of the captions: many drawings have a word of their own, and are known by it. */
  static fromCaptions(captions: readonly string[]): WordTokenizer {
    return new WordTokenizer(
      [...new Set(captions.flatMap((caption) => caption.split(' ')))].sort(),
    );
  }

  /** Exactly `captionLength` ids; the empty caption is all padding. */
  encode(caption: string): number[] {
    const ids = caption
      .toLowerCase()
      .split(/[^a-z0-9]+/)
      .flatMap((word) => this.ids.get(word) ?? [])
      .slice(0, captionLength);
    return [...ids, ...new Array<number>(captionLength - ids.length).fill(padding)];
  }
}
