// emulsion's side of the comparison: a process of its own, as PyTorch's is, so that peak memory and
// settings of one case do not touch the others.
import { createInterface } from 'node:readline';
import { engineInfo, setDefaultDevice, setNumThreads, type DType } from '../../lib/index.js';
import { prepareSets, relativeError, repeat, type Prepared } from './ours/work.js';
import type { Request } from './protocol.js';

const answer = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

const [threads, deviceName, dtype] = process.argv.slice(2);
setNumThreads(Number(threads));
const device = setDefaultDevice(deviceName);
answer({ version: engineInfo().level });
let prepared: Prepared | null = null;
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line) as Request;
  if ('prepare' in request) {
    prepared?.dispose();
    prepared = prepareSets(request.prepare, dtype as DType);
    await device.synchronize();
    answer({});
  } else if ('error' in request) {
    answer({ error: await relativeError(request.error, dtype as DType) });
  } else if ('peak' in request) {
    const onGpu = device.memoryStats().peakBytes / 2 ** 20;
    answer({ mib: deviceName === 'cpu' ? process.resourceUsage().maxRSS / 1024 : onGpu });
  } else {
    const start = performance.now();
    await repeat(prepared!, request.run);
    await device.synchronize();
    answer({ seconds: (performance.now() - start) / 1000 / request.run });
  }
}
