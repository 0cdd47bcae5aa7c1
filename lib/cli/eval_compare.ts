// The work of `emulsion eval compare`: results side by side.
import { basename, dirname } from 'node:path';
import {
  checkComparable,
  formatScore,
  loadEvaluation,
  presentScores,
  type Evaluation,
} from '../eval/index.js';
import type { CompareCommandOptions } from './eval.js';
import { UsageError } from './run.js';

/** Prints the scores as a table; refuses results that were not measured alike. */
export async function compareResults(
  paths: readonly string[],
  { vary, json }: CompareCommandOptions,
): Promise<void> {
  if (paths.length < 2) throw new UsageError('give at least two results to compare.');
  const results: { name: string; evaluation: Evaluation }[] = [];
  for (const path of paths)
    results.push({ name: nameOf(path), evaluation: await loadEvaluation(path) });
  checkComparable(
    results.map(({ name, evaluation }) => ({ name, protocol: evaluation.protocol })),
    vary,
  );
  if (json) {
    const shown = results.map(({ name, evaluation }) => ({ name, scores: evaluation.scores }));
    console.log(JSON.stringify(shown, null, 2));
    return;
  }
  console.log(table(results).join('\n'));
  const versions = new Set(results.map(({ evaluation }) => evaluation.protocol.emulsion));
  if (versions.size > 1)
    console.log(`\nMeasured by different versions of emulsion: ${[...versions].join(', ')}.`);
}

// `eval model` names all of its results alike; their folders tell them apart.
const nameOf = (path: string): string =>
  basename(path) === 'result.json' ? basename(dirname(path)) : basename(path, '.json');

function table(results: readonly { name: string; evaluation: Evaluation }[]): string[] {
  const rows = [
    ['', ...results.map(({ name }) => name)],
    ...presentScores(results.map(({ evaluation }) => evaluation.scores)).map(([score, title]) => [
      title,
      ...results.map(({ evaluation }) => {
        const value = evaluation.scores[score];
        return value === undefined ? '–' : formatScore(score, value);
      }),
    ]),
  ];
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map(([title, ...values]) =>
    [title.padEnd(widths[0]), ...values.map((value, i) => value.padStart(widths[i + 1]))].join(
      '  ',
    ),
  );
}
