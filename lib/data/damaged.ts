// What is done about pictures that cannot be used.
import { EmulsionError, type FileError } from '../errors.js';
import { streams, uniforms } from './philox.js';

const shown = 20;

/** A picture that could not be used, and why. */
export interface DamagedPicture {
  readonly index: number;
  readonly path: string;
  readonly reason: string;
}

/** Counts damaged pictures, names each once, and stops when they are too many. */
export class DamagedPictures {
  readonly list: DamagedPicture[] = [];
  readonly #indices = new Set<number>();

  /**
   * @param most how many are borne
   * @param warn is told each
   */
  constructor(
    private readonly most: number,
    private readonly warn: (message: string) => void,
  ) {}

  has(index: number): boolean {
    return this.#indices.has(index);
  }

  note(index: number, path: string, error: FileError): void {
    if (this.has(index)) return;
    this.#indices.add(index);
    this.list.push({ index, path, reason: error.message });
    this.warn(`left out: ${error.message}`);
  }

  /** @throws EmulsionError (`ERR_DATA`) with the list when they are too many */
  throwIfTooMany(): void {
    if (this.list.length <= this.most) return;
    const reasons = this.list.slice(0, shown).map(({ reason }) => `\n  ${reason}`);
    const more = this.list.length > shown ? `\n  and ${this.list.length - shown} more` : '';
    throw new EmulsionError(
      `DataLoader: ${this.list.length} pictures cannot be used, more than the ${this.most} allowed ` +
        `(maxDamaged).${reasons.join('')}${more}`,
      'ERR_DATA',
    );
  }
}

/**
 * Who stands in for a damaged picture: first a random one, then its neighbours, so that every picture has had
 * its turn after `length` attempts.
 */
export function replacement(
  length: number,
  seed: number,
  epoch: number,
  position: number,
  attempt: number,
): number {
  const [u] = uniforms(seed, streams.replacement, epoch, position);
  return (Math.floor(u * length) + attempt) % length;
}
