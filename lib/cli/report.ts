// `emulsion report`: its options and help. The work is loaded when it is asked for.
import { dirname } from 'node:path';
import { InvalidArgumentError, type Command } from 'commander';
import { newCommand, printJson, reporting } from './run.js';
import { packageVersion } from './version.js';

/** Options of `emulsion report`, as the command line gives them. */
interface ReportCommandOptions {
  output: string;
  title?: string;
  force?: boolean;
  json?: boolean;
  quiet?: boolean;
}

/** The command that makes a page to look at. */
export function reportCommand(): Command {
  return newCommand('report')
    .description('show runs, samples and results on one page of HTML, side by side')
    .argument(
      '<paths...>',
      'folders of runs or samples; results of `emulsion eval` and `emulsion throughput`',
    )
    .requiredOption('-o, --output <file>', 'the page, .html', page)
    .option('--title <text>', "of the page. Default: the paths' names")
    .option('--force', 'overwrite an existing file')
    .option('--json', "print the page's path and its bytes as JSON")
    .option('--quiet', 'no summary')
    .addHelpText(
      'after',
      `
Examples:
  emulsion report logs/celeba256 -o report.html
  emulsion report logs/kl-f4 logs/kl-f8 samples throughput.json -o report.html

The page is one file that loads nothing: pictures are inside, made smaller where they are large.`,
    )
    .action(
      reporting(async (paths: string[], options: ReportCommandOptions) => {
        const { output, title, force, json, quiet } = options;
        const [{ makeReport }, { writeFileAtomic }, files] = await Promise.all([
          import('../report/index.js'),
          import('../io/atomic.js'),
          import('./picture_files.js'),
        ]);
        await files.refuseToOverwrite(output, { force, inputs: paths });
        await files.makeFolder(dirname(output));
        const date = new Date().toISOString().slice(0, 10);
        const text = await makeReport(paths, {
          title,
          note: `Made by emulsion ${packageVersion} on ${date}.`,
        });
        await writeFileAtomic(output, text);
        const bytes = Buffer.byteLength(text);
        if (json) printJson({ file: output, bytes });
        else if (!quiet) console.log(`${output}: ${Math.ceil(bytes / 1024)} KiB`);
      }),
    );
}

function page(text: string): string {
  if (/\.html?$/i.test(text)) return text;
  throw new InvalidArgumentError('Expected a file .html.');
}
