// Trainings of the study: the library's recipe and trainer, without the perceptual network, whose weights
// people fetch themselves.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  AutoencoderKL,
  buildFirstStage,
  firstStageTask,
  loadFirstStage,
  LPIPSWithDiscriminator,
  manualSeed,
  saveFirstStage,
  VQLPIPSWithDiscriminator,
  type VQModel,
  type FirstStage,
  type Json,
  type KlLossConfig,
} from '../../../lib/index.js';
import type { EmojiSet } from '../../demo/emoji.js';
import { risingAndFalling, runTraining } from '../training.js';
import { trainingBatches } from './pictures.js';

export interface Budget {
  readonly steps: number;
  readonly batch: number;
  readonly learningRate: number;
  readonly seed: number;
}

/** Of each first stage of the zoo. */
export const zooBudget: Budget = { steps: 600, batch: 8, learningRate: 1e-3, seed: 0 };

export interface Training {
  readonly name: string;
  /** Where runs and models are kept; a model that is there is not trained again. */
  readonly folder: string;
  readonly pictures: EmojiSet;
  readonly budget: Budget;
  readonly signal: AbortSignal;
  /** A first stage with the weights to begin from. */
  readonly model: FirstStage;
  /** Of a KL model. Default: the paper's trace, 1e-6. */
  readonly klWeight?: number;
  /** The adversarial part of the loss. Default: none. */
  readonly adversarial?: Omit<KlLossConfig, 'klWeight' | 'perceptualWeight'>;
}

/** KL of the paper: a trace, so that latents stay near unit scale without losing what they say. */
const traceOfKl = 1e-6;

/** Fresh weights, the same for the same seed. */
export function freshModel(spec: Parameters<typeof buildFirstStage>[0], seed: number): FirstStage {
  manualSeed(seed);
  return buildFirstStage(spec);
}

/** Trains, or goes on training, and saves; gives the model back in eval mode. */
export async function train(training: Training): Promise<FirstStage> {
  const { name, folder, pictures, budget, signal, adversarial, model } = training;
  const { klWeight = traceOfKl } = training;
  const saved = join(folder, 'models', name);
  if (existsSync(join(saved, 'config.json'))) {
    model.dispose();
    return (await loadFirstStage(saved)).eval();
  }
  const { steps, batch, learningRate, seed } = budget;
  const terms = {
    perceptualWeight: 0,
    skipIdleDiscriminator: true,
    ...(adversarial ?? { discStart: 0, discFactor: 0, discNdf: 8, discNumLayers: 1 }),
  };
  const loss =
    model instanceof AutoencoderKL
      ? new LPIPSWithDiscriminator({ ...terms, klWeight })
      : new VQLPIPSWithDiscriminator({ ...terms, nClasses: (model as VQModel).config.nEmbed });
  const task = firstStageTask({
    model,
    loss,
    learningRate,
    schedule: risingAndFalling(steps),
    config: { spec: model.spec, terms, klWeight, budget } as unknown as Json,
  });
  const data = trainingBatches(pictures, batch, seed);
  try {
    await runTraining({ name, folder, task, data, steps, seed, signal });
    await saveFirstStage(saved, model);
  } finally {
    await data.dispose();
    loss.dispose();
  }
  return model.eval();
}
