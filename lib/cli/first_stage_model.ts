// What the commands around a first stage share: the model, how pictures are tiled, and progress.
import { stat } from 'node:fs/promises';
import { setDefaultDevice } from '../device.js';
import { fileError } from '../io/file_error.js';
import { loadFirstStage, type FirstStage, type TilingOptions } from '../ldm/first_stage/index.js';
import { firstStagePresets } from '../ldm/presets/index.js';
import { UsageError } from './run.js';
import { terminalBar } from './terminal_bar.js';
import { presetNamed } from './presets.js';

/** Options of every command around a first stage, as the command line gives them. */
export interface SharedOptions {
  model: string;
  preset?: string;
  ema?: boolean;
  output: string;
  /** In latents; false for never. Default: tiles of 512 pixels for pictures above 768 x 768. */
  tile?: number | false;
  /** In latents. */
  overlap?: number;
  device?: string;
  force?: boolean;
  quiet?: boolean;
}

/** Loads the model that `--model` and `--preset` name, onto `--device`. */
export async function openFirstStage(options: SharedOptions): Promise<FirstStage> {
  const { model, preset, ema, device } = options;
  const entry = await stat(model).catch((error: unknown) => {
    throw fileError(model, 'cannot be read', error);
  });
  if (preset !== undefined && entry.isDirectory())
    throw new UsageError(`${model} is a model folder, which says itself what it is: no --preset.`);
  if (preset === undefined && !entry.isDirectory()) {
    const known = Object.keys(firstStagePresets).join(', ');
    throw new UsageError(`${model} is a file: name its architecture with --preset (${known}).`);
  }
  const spec = preset === undefined ? undefined : presetNamed(firstStagePresets, preset);
  if (device !== undefined) setDefaultDevice(device);
  const loaded = await loadFirstStage(model, spec, { ema });
  loaded.eval().requiresGrad_(false);
  return loaded;
}

// A network like kl-f8 needs about 3 GB for this many pixels.
const largestWhole = 768 * 768;

/** How a picture of this size goes through the model. */
export function tilingOf(
  { tile, overlap }: SharedOptions,
  model: FirstStage,
  { height, width }: { height: number; width: number },
): TilingOptions {
  const large = tile !== false && (tile !== undefined || height * width > largestWhole);
  if (large) return { tile, overlap };
  return { tile: Math.ceil(Math.max(height, width) / model.downsampling), overlap: 0 };
}

/** How far the pictures are. */
export class PictureProgress {
  readonly #bar: ReturnType<typeof terminalBar>;
  #done = 0;
  #name = '';

  constructor(count: number, options: SharedOptions) {
    this.#bar = terminalBar('{bar} {value}/{total} | {name}{tiles}', options);
    this.#bar?.start(count, 0, { name: '', tiles: '' });
  }

  /** The next picture begins. */
  begin(name: string): void {
    this.#name = name;
    this.#bar?.update(this.#done, { name, tiles: '' });
  }

  /** For `onProgress` of a tiled pass. */
  readonly tiles =
    (what: string) =>
    (done: number, total: number): void => {
      const tiles = total > 1 ? `: ${what} tile ${done}/${total}` : '';
      this.#bar?.update(this.#done, { name: this.#name, tiles });
    };

  /** The picture is finished. */
  end(): void {
    this.#bar?.update(++this.#done, { name: this.#name, tiles: '' });
  }

  stop(): void {
    this.#bar?.stop();
  }
}
