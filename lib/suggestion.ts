// The known name that somebody probably meant.

/** " Did you mean 'embed_dim'?", or nothing when no known name is close. */
export function suggestion(name: string, known: Iterable<string>): string {
  const close = nearest(name, known);
  return close === undefined ? '' : ` Did you mean '${close}'?`;
}

// The known name closest to the given one, or undefined when none is close.
function nearest(name: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    // Longer by the limit: too far without counting.
    if (Math.abs(candidate.length - name.length) >= least) continue;
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < least) [best, least] = [candidate, distance];
  }
  return best;
}

// Insertions, deletions and replacements that lead from one text to the other (Levenshtein, 1965).
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; ++i) {
    const next = [i];
    for (let j = 1; j <= b.length; ++j) {
      const replace = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replace, row[j] + 1, next[j - 1] + 1));
    }
    row = next;
  }
  return row[b.length];
}
