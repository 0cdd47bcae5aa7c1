// A report as one page of HTML that needs nothing beside it.
import { createHash } from 'node:crypto';
import { picturesSection, samplesSection } from './gallery.js';
import { html, Html } from './html.js';
import { PictureShelf } from './pictures.js';
import {
  chartSections,
  configurationSection,
  evaluationSection,
  runsSection,
  throughputSection,
} from './sections.js';
import { script } from './script.js';
import { openSources } from './sources.js';
import { runColour, style } from './style.js';

export interface ReportOptions {
  /** Default: the names of what is reported on. */
  title?: string;
  /** Said at the end of the page, such as a version and a date. */
  note?: string;
  /** Bytes that all pictures may take together. Default 24 MiB. */
  pictureBytes?: number;
}

/**
 * Makes a report of runs, samples, evaluations and measurements of throughput, side by side where there are
 * several. The page loads nothing and tells nobody: a content security policy forbids both. Whatever the files
 * hold is shown as text.
 *
 * @param paths folders of runs and samples, files of results
 * @returns the page
 * @throws FileError for a path that holds nothing to report on
 */
export async function makeReport(
  paths: readonly string[],
  options: ReportOptions = {},
): Promise<string> {
  const sources = (await openSources(paths)).map((source, i) => ({
    ...source,
    colour: runColour(i),
  }));
  const shelf = new PictureShelf(options.pictureBytes);
  const sections = [
    runsSection(sources),
    ...chartSections(sources),
    evaluationSection(sources),
    await picturesSection(sources, shelf),
    await samplesSection(sources, shelf),
    throughputSection(sources),
    configurationSection(sources),
  ].filter((section) => section !== null);
  // "Further measurements" are for those who have read the rest.
  const last = sections.findIndex(({ id }) => id === 'further-measurements');
  if (last >= 0) sections.push(...sections.splice(last, 1));

  const labels = sources.map(({ label }) => label);
  const title =
    options.title ??
    (labels.length <= 3
      ? labels.join(', ')
      : `${labels.slice(0, 2).join(', ')} and ${labels.length - 2} more`);
  const sha = createHash('sha256').update(script).digest('base64');
  const policy = `default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-${sha}'`;
  const page = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta http-equiv="Content-Security-Policy" content="${policy}" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="generator" content="emulsion" />
        <link rel="icon" href="data:," />
        <title>${title}</title>
        ${new Html(`<style>${style}</style>`)}
      </head>
      <body>
        <header>
          <p class="kind">emulsion report</p>
          <h1>${title}</h1>
          <nav aria-label="Contents">
            ${sections.map(({ id, title: name }) => html`<a href="#${id}">${name}</a>`)}
          </nav>
        </header>
        <main>
          ${sections.map(
            ({ id, title: name, body }) =>
              html`<section id="${id}" aria-labelledby="${id}-title">
                <h2 id="${id}-title">${name}</h2>
                ${body}
              </section> `,
          )}
        </main>
        <footer>${options.note ?? ''}</footer>
        ${new Html(`<script>${script}</script>`)}
      </body>
    </html> `;
  return page.text;
}
