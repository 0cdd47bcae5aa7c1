// HTML by templates that escape whatever is put into them.

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text as it must stand in HTML or XML, inside quoted attributes too; what XML cannot hold becomes U+FFFD. */
export const escapeHtml = (text: string): string =>
  text

    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '\ufffd')
    .replace(/[&<>"']/g, (character) => entities[character]);

/** Finished HTML. */
export class Html {
  constructor(readonly text: string) {}
}

type Part = Html | string | number | null | undefined | readonly Part[];

/** A template whose strings and numbers are escaped; HTML stands as it is, lists stand in a row, null is nothing. */
export function html(pieces: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return new Html(
    pieces.map((piece, i) => piece + (i < parts.length ? put(parts[i]) : '')).join(''),
  );
}

function put(part: Part): string {
  if (part === null || part === undefined) return '';
  if (part instanceof Html) return part.text;
  if (typeof part === 'object') return part.map(put).join('');
  return escapeHtml(String(part));
}
