// What `emulsion inspect` tells of a configuration: the model that it describes, of which nothing is built.
import {
  ConfigError,
  diffusionModelTargets,
  firstStageTargets,
  loadConfigTree,
  noisyClassifierTargets,
  readModel,
  readTrainingDType,
  toPlain,
  type ConfigNode,
} from '../config/index.js';
import { nodeAt } from '../config/node.js';
import { diffusionModel, firstStageModel, type ConvertibleModel } from './convert_models.js';
import type { Report } from './inspect_report.js';
import { diffusionParts, firstStageParameters } from './model_parts.js';

/** The report on a YAML or JSON file. @throws FileError or ConfigError when it is neither */
export async function ofConfig(path: string): Promise<Report> {
  const tree = await loadConfigTree([path]); // JSON is YAML too
  const report: Report = {
    path,
    kind: 'configuration',
    ema: false,
    hyperParameters: toPlain(nodeAt(tree, ['model']) ?? tree),
  };
  const target = nodeAt(tree, ['model', 'target']);
  if (target?.kind !== 'scalar') return report;
  const model = String(target.value);
  try {
    return { ...report, model, ...describe(tree, model), dtype: readTrainingDType(tree) };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { ...report, model, problem: error.message };
  }
}

// The model of a configuration, of which nothing is built.
function describe(tree: ConfigNode, target: string): Omit<Report, 'path' | 'kind'> {
  if (diffusionModelTargets.names.includes(target)) {
    const { spec, training } = readModel(tree, diffusionModelTargets).spec;
    return {
      ema: training.useEma ?? true,
      latentScale: spec.scaleByStd ? 'measured' : (spec.scaleFactor ?? 1),
      parameters: Object.fromEntries(diffusionParts(spec)),
      state: toBe(diffusionModel(spec)),
    };
  }
  if (noisyClassifierTargets.names.includes(target)) {
    // its network is made from the diffusion model's, which lies in files
    readModel(tree, noisyClassifierTargets);
    return { ema: false };
  }
  const { spec, training } = readModel(tree, firstStageTargets).spec;
  return {
    ema: training.useEma ?? false,
    parameters: { 'first stage': firstStageParameters(spec) },
    state: toBe(firstStageModel(spec)),
  };
}

// The tensors that a model will have.
function toBe(model: ConvertibleModel): Report['state'] {
  const shapes = model.shapes('folder');
  return {
    keys: [...shapes.keys()],
    info: (key) => ({ shape: shapes.get(key)!, dtype: 'float32' }),
  };
}
