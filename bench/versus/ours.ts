// emulsion's side of the comparison: a process of its own, as PyTorch's is, so that peak memory and
// settings of one case do not touch the others.
import { createInterface } from 'node:readline';
import { defaultDevice, engineInfo, setNumThreads, tidy } from '../../lib/index.js';
import { prepare, relativeError, type Prepared } from './ours/work.js';
import type { Request } from './protocol.js';

const answer = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

setNumThreads(Number(process.argv[2]));
answer({ version: engineInfo().level });
let prepared: Prepared | null = null;
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line) as Request;
  if ('prepare' in request) {
    prepared?.dispose();
    prepared = prepare(request.prepare);
    await defaultDevice().synchronize();
    answer({});
  } else if ('error' in request) {
    answer({ error: await relativeError(request.error) });
  } else if ('peak' in request) {
    answer({ mib: process.resourceUsage().maxRSS / 1024 });
  } else {
    const start = performance.now();
    for (let i = 0; i < request.run; i++) tidy(prepared!.run);
    await defaultDevice().synchronize();
    answer({ seconds: (performance.now() - start) / 1000 / request.run });
  }
}
