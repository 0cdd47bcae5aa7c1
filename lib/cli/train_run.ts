// The work of `emulsion train`: a configuration and pictures in, a trained model out.
import { readdir, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { formatYaml, loadConfigTree, toPlain, type ConfigNode } from '../config/index.js';
import { setDefaultDevice } from '../device.js';
import { FileError } from '../errors.js';
import { writeFileAtomic } from '../io/index.js';
import {
  openRunFolder,
  ProgressLogger,
  TensorBoardLogger,
  type Logger,
  type RunFolder,
} from '../train/index.js';
import { interruptible, printJson, UsageError } from './run.js';
import type { TrainOptions } from './train.js';
import type { Training } from './trainings.js';

/** The resolved configuration of a run, in its folder. */
const configFile = 'config.yaml';

/** A command that trains: how it is called, and what a configuration means to it. */
export interface TrainCall {
  readonly command: string;
  /** the option that names a configuration */
  readonly base: string;
  readonly trainingOf: (tree: ConfigNode) => Training;
}

export async function train(
  { command, base, trainingOf }: TrainCall,
  overrides: string[],
  options: TrainOptions,
): Promise<void> {
  if (options.resume === undefined && options.config.length === 0)
    throw new UsageError(`give a configuration with ${base}, or a run with --resume.`);
  const stray = overrides.find((word) => !word.includes('='));
  if (stray !== undefined)
    throw new UsageError(
      `'${stray}' is no value of the configuration, key.path=value. A further configuration goes with ${base} ${stray}.`,
    );
  const run = await locate(options);
  // As in the original: what the run had, then what is given now.
  const files = [...(run.resume ? [join(run.path, configFile)] : []), ...options.config];
  const tree = await loadConfigTree(files, [...overrides, ...asOverrides(options)]);
  const training = trainingOf(tree);
  const { device, tensorboard } = training.run;
  if (device !== undefined) setDefaultDevice(device);
  if (training.ignored.length > 0)
    console.warn(`emulsion: without effect here: ${training.ignored.join(', ')}.`);
  if (options.dryRun) return describe(tree, training, options);

  const built = await training.build();
  try {
    const folder = await openRunFolder(run.path, { resume: run.resume });
    const loggers = await loggersOf(folder, tree, { tensorboard, json: options.json });
    const { parameters } = built;
    const { learningRate } = training;
    if (!options.json)
      console.log(
        `${run.path}: ${parameters.toLocaleString('en')} parameters, learning rate ${learningRate}`,
      );
    const result = await interruptible('Finishing the step, then saving.', (signal) =>
      built.run({ folder, loggers }, signal),
    );
    const saved = result?.finished ? join(run.path, 'model') : null;
    if (saved) await built.save(saved);
    else process.exitCode = 130;
    if (options.json) {
      const { step = 0, images = 0 } = result ?? {};
      printJson({ run: run.path, parameters, learningRate, step, images, model: saved });
    } else if (!result?.finished) {
      const state = result ? `and saved after step ${result.step}` : 'before the first step';
      const resume = `emulsion ${command} --resume ${quoted(run.path)}`;
      console.log(`Interrupted, ${state}. Go on with:\n  ${resume}`);
    } else {
      console.log(`${result.step} steps, ${result.images} images. The model is in ${saved}`);
    }
  } finally {
    await built.dispose();
  }
}

async function loggersOf(
  folder: RunFolder,
  tree: ConfigNode,
  { tensorboard, json }: { tensorboard?: boolean; json?: boolean },
): Promise<Logger[]> {
  const saveConfig = () =>
    writeFileAtomic(join(folder.path, configFile), formatYaml(toPlain(tree)));
  // A new run can be gone on with from its first moment. When loggers start, the state is known to fit: a
  // configuration that does not never replaces the run's.
  if (!folder.resume) await saveConfig();
  const loggers: Logger[] = [
    ...(json ? [] : [new ProgressLogger()]),
    { start: saveConfig, scalars: () => undefined, close: () => undefined },
  ];
  if (tensorboard) loggers.push(new TensorBoardLogger(join(folder.path, 'tensorboard')));
  return loggers;
}

// As a shell reads it as one word.
const quoted = (path: string): string =>
  /^[\w./:@%+=,-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;

/** Where the run is kept, and whether it was begun before. */
async function locate({ resume, config, name, logdir }: TrainOptions) {
  if (resume === undefined) {
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
  const { seed, steps, batch, scaleLr, dtype, cacheLatents, capture } = options;
  const { device, tensorboard } = options;
  const values = {
    'emulsion.seed': seed,
    'emulsion.scale_lr': scaleLr,
    'emulsion.dtype': dtype,
    'emulsion.cache_latents': cacheLatents,
    'emulsion.capture': capture === false ? false : undefined,
    'emulsion.device': device,
    'emulsion.tensorboard': tensorboard,
    'lightning.trainer.max_steps': steps,
    'data.params.batch_size': batch,
  };
  return Object.entries(values)
    .filter(([, value]) => value !== undefined)
    .map(([path, value]) => `${path}=${value}`);
}

function describe(tree: ConfigNode, training: Training, { json }: TrainOptions): void {
  if (json) {
    const parts = Object.fromEntries(training.parts());
    const { learningRate } = training;
    return printJson({ configuration: toPlain(tree), parameters: parts, learningRate });
  }
  console.log(formatYaml(toPlain(tree)).trimEnd());
  for (const [name, parameters] of training.parts())
    console.log(`# ${name}: ${parameters.toLocaleString('en')} parameters`);
  console.log(`# learning rate: ${training.learningRate}`);
}
