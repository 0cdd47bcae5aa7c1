// npm run soak [-- STEPS]: 50,000 steps of a tiny training loop must hold resident memory and live bytes.
import { checkFlat, trainTiny } from './support/tiny_training.js';

const steps = Number(process.argv[2] ?? 50_000);
const start = performance.now();
const samples = await trainTiny(steps, 20);
for (const { step, residentBytes, liveBytes, tensors, loss } of samples)
  console.log(
    `step ${String(step).padStart(6)}  resident ${(residentBytes / 2 ** 20).toFixed(1)} MiB  ` +
      `live ${liveBytes} bytes in ${tensors} tensors  loss ${loss.toFixed(6)}`,
  );
checkFlat(samples);
const seconds = (performance.now() - start) / 1000;
console.log(
  `flat over ${steps} steps in ${seconds.toFixed(0)} s (${((1e6 * seconds) / steps).toFixed(0)} µs a step)`,
);
