// The page's pictures: grids of a run over time, and samples.
import { basename } from 'node:path';
import { formatNumber } from './format.js';
import { html, type Html } from './html.js';
import type { EmbeddedPicture, PictureShelf } from './pictures.js';
import type { Coloured, Section } from './sections.js';
import type { PictureSeries } from './sources.js';

/** What is shown first, and how many moments of each; what is not named comes between them. */
const order: Readonly<Record<string, { rank: number; moments: number; title: string }>> = {
  samples: { rank: 0, moments: 6, title: 'samples' },
  conditioning: { rank: 1, moments: 6, title: 'conditioning: what samples are asked for' },
  conditioning_text: { rank: 2, moments: 6, title: 'and in words' },
  reconstructions: { rank: 3, moments: 4, title: 'reconstructions' },
  inputs: { rank: 4, moments: 1, title: 'inputs' },
  samples_inpainting: { rank: 6, moments: 3, title: 'inpainting: the middle made anew' },
  mask: { rank: 7, moments: 1, title: 'inpainting: white is kept' },
  samples_outpainting: { rank: 8, moments: 3, title: 'outpainting: made anew but for the middle' },
  denoising_row: {
    rank: 9,
    moments: 1,
    title: 'denoising: the latents, decoded, from noise to sample',
  },
  progressive_row: {
    rank: 10,
    moments: 1,
    title: 'denoising: what the network takes the sample to be',
  },
  diffusion_row: { rank: 11, moments: 1, title: 'diffusion: pictures noised ever more' },
};
const other = (name: string) =>
  Object.hasOwn(order, name) ? order[name] : { rank: 5, moments: 3, title: name };
const mostKinds = 24;
const mostSamples = 24;

// Validation shows what the model has not seen; what was trained on stands where there is none.
const isShown = ({ split, name }: PictureSeries, all: readonly PictureSeries[]): boolean =>
  split === 'val' || !all.some((each) => each.split === 'val' && each.name === name);

/** Grids that the runs drew: for each kind a column a run, from the first moment down to the last. */
export async function picturesSection(
  sources: readonly Coloured[],
  shelf: PictureShelf,
): Promise<Section | null> {
  const kinds = new Map<string, { source: Coloured; series: PictureSeries }[]>();
  for (const source of sources)
    for (const series of source.pictures.filter((each) => isShown(each, source.pictures)))
      kinds.set(series.name, [...(kinds.get(series.name) ?? []), { source, series }]);
  const sorted = [...kinds].sort(([a], [b]) => other(a).rank - other(b).rank);
  const parts: Html[] = [];
  for (const [name, found] of sorted.slice(0, mostKinds)) {
    const { title, moments } = other(name);
    const columns: Html[] = [];
    for (const { source, series: own } of found)
      columns.push(await overTime(source, own, spread(own.files, moments), shelf));
    parts.push(
      html`<h3 class="kindof">${title}</h3>
        <div class="columns">${columns}</div>`,
    );
  }
  return parts.length === 0 ? null : { id: 'pictures', title: 'Pictures', body: html`${parts}` };
}

async function overTime(
  { label, colour }: Coloured,
  { name, split }: PictureSeries,
  files: PictureSeries['files'],
  shelf: PictureShelf,
): Promise<Html> {
  // What a frozen first stage makes of the same pictures stays the same: it is shown once.
  const found: { from: number; to: number; picture: EmbeddedPicture | string }[] = [];
  for (const { step, path } of files) {
    const embedded = await shelf.embed(path);
    const before = found.at(-1);
    if (before && uriOf(before.picture) === uriOf(embedded)) before.to = step;
    else found.push({ from: step, to: step, picture: embedded });
  }
  const shown = found.map(({ from, to, picture: own }) => {
    const steps = [...new Set([from, to])].map(formatNumber).join(' to ');
    return html`<figure>
      ${picture(own, `${name} of ${label}, ${split}, step ${steps}`)}
      <figcaption>step ${steps}</figcaption>
    </figure>`;
  });
  return html`<div class="card">
    <span class="swatch" style="color:${colour}"></span>${label}
    <div class="over-time">${shown}</div>
  </div>`;
}

/** The first samples of each folder, and how they were made. */
export async function samplesSection(
  sources: readonly Coloured[],
  shelf: PictureShelf,
): Promise<Section | null> {
  const parts: Html[] = [];
  for (const { label, colour, samples } of sources) {
    if (!samples) continue;
    const shown: Html[] = [];
    for (const path of samples.files.slice(0, mostSamples)) {
      const name = basename(path, '.png');
      shown.push(
        html`<figure>
          ${picture(await shelf.embed(path, 256), `sample ${name} of ${label}`)}
          <figcaption>${name}</figcaption>
        </figure>`,
      );
    }
    const { length } = samples.files;
    const count =
      length > mostSamples ? `the first ${mostSamples} of ${formatNumber(length)}` : length;
    const calls = samples.calls.slice(-4).map((call) => {
      const told = Object.entries(call).map(([name, value]) => `${name} ${JSON.stringify(value)}`);
      return html`<p class="note">${told.join(', ').slice(0, 1000)}</p>`;
    });
    parts.push(
      html`<div class="card">
        <span class="swatch" style="color:${colour}"></span>${label}: ${count} samples ${calls}
        <div class="sheet">${shown}</div>
      </div>`,
    );
  }
  return parts.length === 0 ? null : { id: 'samples', title: 'Samples', body: html`${parts}` };
}

const uriOf = (found: EmbeddedPicture | string): string =>
  typeof found === 'string' ? found : found.uri;

// Small pictures are shown at a multiple of their size, pixel by pixel.
function picture(found: EmbeddedPicture | string, alt: string): Html {
  if (typeof found === 'string') return html`<p class="note">${alt}: left out, ${found}.</p>`;
  const { uri, width, height } = found;
  const times = Math.max(1, Math.min(4, Math.floor(480 / width)));
  const pixels = times > 1 ? 'pixels' : 'whole';
  return html`<img
    class="${pixels}"
    src="${uri}"
    alt="${alt}"
    width="${times * width}"
    height="${times * height}"
  />`;
}

/** Some of a list, evenly spread, the last always. */
function spread<T>(items: readonly T[], count: number): T[] {
  if (items.length <= count) return [...items];
  if (count === 1) return items.slice(-1);
  return Array.from(
    { length: count },
    (_, i) => items[Math.round((i * (items.length - 1)) / (count - 1))],
  );
}
