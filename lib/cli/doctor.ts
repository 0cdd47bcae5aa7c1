// `emulsion doctor`: what the machine offers, what the engine uses of it, and why not more.
import { availableParallelism, cpus, totalmem } from 'node:os';
import type { Command } from 'commander';
import type { CudaInfo, EngineInfo } from '../native.js';
import { newCommand, printJson } from './run.js';
import { packageVersion } from './version.js';

/** Everything that the report says. */
export interface Facts {
  version: string;
  node: string;
  /** As in `linux-x64`. */
  platform: string;
  processor: string;
  cores: number;
  memory: number;
  /** Environment variables that change what the engine does. */
  settings: Record<string, string>;
  /** The engine, or why it could not be loaded. */
  engine: { info: EngineInfo; defaultDevice: string } | { failure: string };
}

/** The command that looks at the machine. */
export function doctorCommand(): Command {
  return newCommand('doctor')
    .description('tell what this machine offers, what the engine uses of it, and why not more')
    .option('--json', 'print it as JSON')
    .addHelpText(
      'after',
      `
Examples:
  emulsion doctor
  emulsion doctor --json

It ends with 1 when the engine cannot be loaded, and says why.`,
    )
    .action(doctor);
}

const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
const kibibytes = (bytes: number): string => `${bytes / 2 ** 10} KiB`;
const cudaVersion = (version: number): string =>
  `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`;
const capability = (value: number): string => `${Math.floor(value / 10)}.${value % 10}`;

/** The report, a line for each fact. */
export function formatReport(facts: Facts): string {
  const lines: [string, string][] = [
    ['emulsion', facts.version],
    ['Node.js', `${facts.node}, ${facts.platform}`],
    ['processor', `${facts.processor}, ${facts.cores} cores, ${gibibytes(facts.memory)}`],
  ];
  for (const [name, value] of Object.entries(facts.settings))
    lines.push(['setting', `${name}=${value}`]);
  if ('failure' in facts.engine) lines.push(['engine', facts.engine.failure]);
  else lines.push(...describeEngine(facts.engine.info, facts.engine.defaultDevice));
  return lines.map(([name, text]) => `${name.padEnd(10)} ${text}`).join('\n');
}

function describeEngine(info: EngineInfo, defaultDevice: string): [string, string][] {
  const threads = `${info.threads} ${info.threads === 1 ? 'thread' : 'threads'}`;
  return [
    ['CPU', `${info.level}, ${threads}; compiled in: ${info.levels.join(', ')}`],
    ['caches', `${kibibytes(info.caches.core)} a thread, ${kibibytes(info.caches.last)} the last`],
    ...describeCuda(info.cuda, info.devices.slice(1)),
    ['default', defaultDevice],
  ];
}

// The devices beside the CPU are the usable GPUs, in order.
function describeCuda(cuda: CudaInfo | undefined, devices: string[]): [string, string][] {
  if (!cuda)
    return [
      [
        'CUDA',
        'not compiled in: `EMULSION_CUDA=ON npm run build` needs the CUDA toolkit 12.8 or newer',
      ],
    ];
  const driver = cuda.driver === 0 ? 'no driver' : `driver for CUDA ${cudaVersion(cuda.driver)}`;
  const built = `compiled in for ${cuda.architectures}, CUDA ${cudaVersion(cuda.runtime)}; ${driver}`;
  const lines: [string, string][] = [['CUDA', built]];
  if (cuda.reason) lines.push(['GPU', `not used: ${cuda.reason}`]);
  const names = [...devices];
  cuda.gpus.forEach((gpu, i) => {
    const use = gpu.reason ? `not used: ${gpu.reason}` : `used as ${names.shift()}`;
    const facts = `capability ${capability(gpu.capability)}, ${gibibytes(gpu.memory)}`;
    lines.push([`GPU ${i}`, `${gpu.name}, ${facts}; ${use}`]);
  });
  return lines;
}

// The engine is loaded here and not above: that it fails is a finding.
async function loadEngine(): Promise<Facts['engine']> {
  try {
    const { defaultDevice, engineInfo } = await import('../device.js');
    return { info: engineInfo(), defaultDevice: defaultDevice().name };
  } catch (error) {
    return { failure: (error as Error).message };
  }
}

/**
 * Prints the report, or with `json` its {@link Facts}. The process ends with 1 when the engine cannot be loaded.
 */
export async function doctor({ json }: { json?: boolean } = {}): Promise<void> {
  const settings = Object.entries(process.env).filter(([name]) => name.startsWith('EMULSION_'));
  const engine = await loadEngine();
  const facts: Facts = {
    version: packageVersion,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memory: totalmem(),
    settings: Object.fromEntries(settings) as Record<string, string>,
    engine,
  };
  if (json) printJson(facts);
  else console.log(formatReport(facts));
  if ('failure' in engine) process.exitCode = 1;
}
