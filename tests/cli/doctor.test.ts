import { spawnSync } from 'node:child_process';
import { relative } from 'node:path';
import { expect, test } from 'vitest';
import { formatReport, type Facts } from '../../lib/cli/doctor.js';
import { defaultDevice, engineInfo, type CudaInfo, type EngineInfo } from '../../lib/index.js';
import { root } from '../support/source_tree.js';

const info: EngineInfo = {
  devices: ['cpu'],
  levels: ['baseline', 'avx2', 'avx512'],
  level: 'avx2',
  threads: 8,
  caches: { core: 2 ** 20, last: 2 ** 25 },
  kernels: [],
};
const facts = (engine: Facts['engine'], settings = {}): Facts => ({
  version: '1.2.3',
  node: 'v20.0.0',
  platform: 'linux-x64',
  processor: 'Some CPU',
  cores: 8,
  memory: 16 * 2 ** 30,
  settings,
  engine,
});
const withCuda = (cuda: CudaInfo, device = 'cpu'): string =>
  formatReport(
    facts({ info: { ...info, devices: ['cpu', 'cuda:1'], cuda }, defaultDevice: device }),
  );

test('a machine without the CUDA engine', () => {
  const report = formatReport(facts({ info, defaultDevice: 'cpu' }, { EMULSION_SYNC: '1' }));
  expect(report.split('\n')).toEqual([
    'emulsion   1.2.3',
    'Node.js    v20.0.0, linux-x64',
    'processor  Some CPU, 8 cores, 16.0 GiB',
    'setting    EMULSION_SYNC=1',
    'CPU        avx2, 8 threads; compiled in: baseline, avx2, avx512',
    'caches     1024 KiB a thread, 32768 KiB the last',
    'CUDA       not compiled in: `EMULSION_CUDA=ON npm run build` needs the CUDA toolkit 12.8 or newer',
    'default    cpu',
  ]);
});

test('GPUs, used and not', () => {
  const report = withCuda(
    {
      architectures: '80,90a',
      runtime: 13000,
      driver: 13010,
      reason: '',
      gpus: [
        { name: 'Tesla T4', capability: 75, memory: 15 * 2 ** 30, reason: 'too old' },
        { name: 'NVIDIA H200', capability: 90, memory: 141 * 2 ** 30, reason: '' },
      ],
    },
    'cuda:1',
  );
  expect(report.split('\n').slice(5)).toEqual([
    'CUDA       compiled in for 80,90a, CUDA 13.0; driver for CUDA 13.1',
    'GPU 0      Tesla T4, capability 7.5, 15.0 GiB; not used: too old',
    'GPU 1      NVIDIA H200, capability 9.0, 141.0 GiB; used as cuda:1',
    'default    cuda:1',
  ]);
});

test('no driver', () => {
  const reason = 'no NVIDIA driver is installed';
  const cuda = { architectures: '80', runtime: 12080, driver: 0, reason, gpus: [] };
  expect(withCuda(cuda)).toContain(
    'CUDA       compiled in for 80, CUDA 12.8; no driver\nGPU        not used: no NVIDIA driver is installed',
  );
});

test('an engine that cannot be loaded', () => {
  expect(formatReport(facts({ failure: 'nothing there' }))).toContain('engine     nothing there');
});

function run(command: string, env: NodeJS.ProcessEnv = {}, ...options: string[]) {
  const loader = ['--import', './scripts/typescript.mjs', 'lib/cli/main.ts'];
  return spawnSync(process.execPath, [...loader, command, ...options], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
}

test('the command says what this machine has', () => {
  const { status, stdout, stderr } = run('doctor');
  expect(stderr).toBe('');
  expect(status).toBe(0);
  expect(stdout).toContain(`Node.js    ${process.version}, ${process.platform}-${process.arch}`);
  expect(stdout).toContain(`CPU        ${engineInfo().level}, `);
  expect(stdout).toMatch(/^CUDA {7}(not compiled in|compiled in for \S+)/m);
  expect(stdout.trimEnd().split('\n').at(-1)).toBe(`default    ${defaultDevice()}`);
});

test('--json gives the facts behind the report', () => {
  const { status, stdout } = run('doctor', {}, '--json');
  expect(status).toBe(0);
  const facts = JSON.parse(stdout) as Facts;
  expect(facts.engine).toMatchObject({ info: { level: engineInfo().level } });
  expect(facts.node).toBe(process.version);
});

test('the command explains an addon that is not there, and fails', () => {
  const { status, stdout } = run('doctor', { EMULSION_ADDON: '/nowhere/emulsion.node' });
  expect(status).toBe(1);
  expect(stdout).toMatch(/engine {5}emulsion: the native engine could not be loaded/);
  expect(stdout).toContain('EMULSION_ADDON names /nowhere/emulsion.node');
});

test('EMULSION_ADDON may be relative to the folder that a command is called in', () => {
  const addon = relative(root, process.env.EMULSION_ADDON ?? 'build/Release/emulsion.node');
  const { status, stdout } = run('doctor', { EMULSION_ADDON: addon });
  expect(stdout).toContain(`CPU        ${engineInfo().level}, `);
  expect(status).toBe(0);
});

test('an unknown command is refused', () => {
  const { status, stderr } = run('docter');
  expect(status).toBe(2);
  expect(stderr).toMatch(/unknown command 'docter'.*Did you mean doctor/s);
});
