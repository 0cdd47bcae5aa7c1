// Captions as numbers: one per known word.
export const captionLength = 12;
const padding = 0;
const unknown = 1;

/** Maps words to ids. 0 pads, 1 stands for any word that was not in the training captions. */
export class WordTokenizer {
  private readonly ids: Map<string, number>;

  /** @param words in the order of their ids, from 2 on. */
  constructor(readonly words: readonly string[]) {
    this.ids = new Map(words.map((word, i) => [word, i + 2]));
  }

  /** Every word that occurs at least twice. */
  static fromCaptions(captions: readonly string[]): WordTokenizer {
    const counts = new Map<string, number>();
    for (const word of captions.flatMap((caption) => caption.split(' ')))
      counts.set(word, (counts.get(word) ?? 0) + 1);
    return new WordTokenizer(
      [...counts]
        .filter(([, count]) => count > 1)
        .map(([word]) => word)
        .sort(),
    );
  }

  /** Number of ids. */
  get size(): number {
    return this.words.length + 2;
  }

  /** Exactly `captionLength` ids; the empty caption is all padding. */
  encode(caption: string): number[] {
    const words = caption
      .toLowerCase()
      .split(/[^a-z0-9]+/)
      .filter(Boolean);
    const ids = words.slice(0, captionLength).map((word) => this.ids.get(word) ?? unknown);
    return [...ids, ...new Array<number>(captionLength - ids.length).fill(padding)];
  }
}
