// `emulsion train first-stage`: a configuration and a folder in, a trained model out.
import { readdir, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { formatYaml, loadConfigTree, toPlain, type ConfigNode } from '../config/index.js';
import { setDefaultDevice } from '../device.js';
import { FileError } from '../errors.js';
import { writeFileAtomic } from '../io/index.js';
import { LPIPSWithDiscriminator } from '../ldm/index.js';
import type { Module } from '../nn/index.js';
import {
  buildFirstStageRun,
  learningRateOf,
  openRunFolder,
  ProgressLogger,
  readFirstStageTraining,
  saveTrainedFirstStage,
  TensorBoardLogger,
  Trainer,
  type FirstStageTrainingConfig,
  type Logger,
  type RunFolder,
  type TrainingResult,
} from '../train/index.js';
import { UsageError } from './run.js';
import type { TrainOptions } from './train.js';

/** The resolved configuration of a run, in its folder. */
const configFile = 'config.yaml';

export async function trainFirstStage(overrides: string[], options: TrainOptions): Promise<void> {
  if (options.device !== undefined) setDefaultDevice(options.device);
  const run = await locate(options);
  // As in the original: what the run had, then what is given now.
  const files = [...(run.resume ? [join(run.path, configFile)] : []), ...options.config];
  const tree = await loadConfigTree(files, [...overrides, ...asOverrides(options)]);
  const config = readFirstStageTraining(tree);
  if (options.dryRun) return describe(tree, config);

  const built = await buildFirstStageRun(config);
  const folder = await openRunFolder(run.path, { resume: run.resume });
  const loggers = loggersOf(folder, tree, options);
  const trainer = new Trainer(built.task, built.data, { ...built.options, folder, loggers });
  const count = built.model.parameterCount().toLocaleString('en');
  console.log(`${run.path}: ${count} parameters, learning rate ${learningRateOf(config)}`);
  let result: TrainingResult;
  try {
    result = await interruptible((signal) => trainer.run({ signal }));
  } finally {
    // Its threads would keep the process alive, also after an error.
    await built.data.dispose();
    await built.options.validation?.dispose?.();
  }
  if (!result.finished) {
    console.log(
      `Interrupted, and saved after step ${result.step}. Go on with:\n` +
        `  emulsion train first-stage --resume ${run.path}`,
    );
    process.exitCode = 130;
    return;
  }
  const saved = join(run.path, 'model');
  await saveTrainedFirstStage(saved, built);
  console.log(`${result.step} steps, ${result.images} images. The model is in ${saved}`);
}

function loggersOf(folder: RunFolder, tree: ConfigNode, { tensorboard }: TrainOptions): Logger[] {
  const loggers: Logger[] = [
    new ProgressLogger(),
    {
      // When loggers start, the state is known to fit: a configuration that does not never replaces the run's.
      start: () => writeFileAtomic(join(folder.path, configFile), formatYaml(toPlain(tree))),
      scalars: () => undefined,
      close: () => undefined,
    },
  ];
  if (tensorboard) loggers.push(new TensorBoardLogger(join(folder.path, 'tensorboard')));
  return loggers;
}

/** Where the run is kept, and whether it was begun before. */
async function locate({ resume, config, name, logdir }: TrainOptions) {
  if (resume === undefined) {
    if (config.length === 0)
      throw new UsageError('give a configuration with --config, or a run with --resume.');
    const own = name ?? basename(config[0], extname(config[0]));
    return { path: join(logdir, own), resume: false };
  }
  if (resume !== 'latest') return { path: resume, resume: true };
  return { path: name === undefined ? await newestRun(logdir) : join(logdir, name), resume: true };
}

async function newestRun(logdir: string): Promise<string> {
  const names = await readdir(logdir).catch(() => []);
  const runs = await Promise.all(
    names.map(async (name) => {
      const path = join(logdir, name);
      const found = await stat(join(path, configFile)).catch(() => null);
      return { path, time: found?.mtimeMs ?? -1 };
    }),
  );
  const [newest] = runs.filter(({ time }) => time >= 0).sort((a, b) => b.time - a.time);
  if (!newest) throw new FileError('holds no run to go on with.', logdir);
  return newest.path;
}

// Options are shorthands: what they say is part of the configuration that a run is resumed from.
function asOverrides(options: TrainOptions): string[] {
  const { seed, steps, batch, scaleLr, dtype } = options;
  const values = {
    'emulsion.seed': seed,
    'emulsion.scale_lr': scaleLr,
    'emulsion.dtype': dtype,
    'lightning.trainer.max_steps': steps,
    'data.params.batch_size': batch,
  };
  return Object.entries(values)
    .filter(([, value]) => value !== undefined)
    .map(([path, value]) => `${path}=${value}`);
}

function describe(tree: ConfigNode, config: FirstStageTrainingConfig): void {
  console.log(formatYaml(toPlain(tree)).trimEnd());
  const say = (what: string, module: Module) =>
    console.log(`# ${what}: ${module.parameterCount().toLocaleString('en')} parameters`);
  say(config.model.target, config.model.build());
  const loss = config.model.spec.training.lossconfig?.spec;
  if (loss && loss.kind !== 'none') {
    // Its weights matter as little here as those of the perceptual network.
    const { discriminator } = new LPIPSWithDiscriminator({ ...loss.config, perceptualWeight: 0 });
    say('discriminator', discriminator);
  }
  console.log(`# learning rate: ${learningRateOf(config)}`);
}

// npx and its like pass a signal on that the process has had already.
const sameSignalMs = 1000;

// The first Ctrl-C ends the step and saves; the second ends the process.
async function interruptible(
  run: (signal: AbortSignal) => Promise<TrainingResult>,
): Promise<TrainingResult> {
  const controller = new AbortController();
  let first = 0;
  const stop = () => {
    if (!controller.signal.aborted) {
      first = performance.now();
      console.log('Finishing the step, then saving. Once more ends at once.');
      controller.abort();
    } else if (performance.now() - first > sameSignalMs) process.exit(130);
  };
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, stop);
  try {
    return await run(controller.signal);
  } finally {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, stop);
  }
}
