// What the studies of tasks share: the drawings, a first stage, and how a diffusion model is trained.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  buildLatentDiffusion,
  latentDiffusionTask,
  loadLatentDiffusion,
  manualSeed,
  saveLatentDiffusion,
  type FirstStage,
  type Tensor,
} from '../../../lib/index.js';
import { loadEmoji, type EmojiSet } from '../../demo/emoji.js';
import { subset } from '../first_stage/pictures.js';
import { freshModel, train as trainFirstStage } from '../first_stage/train.js';
import { measurements, risingAndFalling, runTraining } from '../training.js';
import { isHeldOut } from '../../demo/emoji.js';
import type {
  DiffusionTraining,
  SharedFirstStage,
  StudyContext,
  TrainedDiffusion,
  TrainingRecord,
} from './study.js';

export interface ContextOptions {
  /** Of all tasks. */
  readonly folder: string;
  /** Where the first stage lies: that of seed 0, which the tasks of every seed share. */
  readonly shared: string;
  readonly seed: number;
  readonly scale: number;
  readonly signal: AbortSignal;
  /** Drawings to work with; default: all. */
  readonly limit?: number;
}

const firstStageName = 'first-stage';
const firstStageSteps = 1200;
/**
 * Enough that the decoder learns to read latents with some noise in them, as a diffusion model's are; it costs
 * little of what they keep.
 */
const klWeight = 0.05;

const firstStageSpec: SharedFirstStage['spec'] = {
  kind: 'kl',
  ddconfig: {
    ch: 32,
    outCh: 3,
    chMult: [1, 1, 2],
    numResBlocks: 1,
    inChannels: 3,
    resolution: 64,
    zChannels: 4,
    attnType: 'none',
    normGroups: 8,
  },
  embedDim: 4,
};

/** Makes the contexts of the tasks. */
export class Workshop {
  #firstStage?: Promise<FirstStage>;

  private constructor(
    private readonly options: ContextOptions,
    private readonly emoji: EmojiSet,
    private readonly training: EmojiSet,
    private readonly heldOut: EmojiSet,
  ) {}

  static async open(options: ContextOptions): Promise<Workshop> {
    const emoji = await loadEmoji(options.limit);
    const training = subset(emoji, (index) => !isHeldOut(index));
    return new Workshop(options, emoji, training, subset(emoji, isHeldOut));
  }

  /** @param name of the task */
  context(name: string): StudyContext {
    const { folder, seed, scale, signal } = this.options;
    const log = (message: string) => console.log(`${name}: ${message}`);
    return {
      folder: join(folder, name),
      emoji: this.emoji,
      training: this.training,
      heldOut: this.heldOut,
      signal,
      seed,
      scale,
      firstStage: async () => ({ model: await this.firstStage(), spec: firstStageSpec }),
      train: (training) => this.train(training),
      log,
    };
  }

  private firstStage(): Promise<FirstStage> {
    const { shared, scale, signal } = this.options;
    const seed = 0;
    this.#firstStage ??= trainFirstStage({
      name: firstStageName,
      folder: shared,
      pictures: this.training,
      budget: { steps: scaled(firstStageSteps, scale), batch: 8, learningRate: 1e-3, seed },
      signal,
      model: freshModel(firstStageSpec, seed),
      klWeight,
    });
    return this.#firstStage;
  }

  private async train(training: DiffusionTraining): Promise<TrainedDiffusion> {
    const { folder, seed, scale, signal } = this.options;
    const { name, spec, data, learningRate, unconditionalProbability } = training;
    const steps = scaled(training.steps, scale);
    const saved = join(folder, 'models', name);
    if (!existsSync(join(saved, 'config.json'))) {
      manualSeed(seed);
      const model = buildLatentDiffusion(spec);
      training.initialize?.(model);
      if (spec.firstStage.kind !== 'identity')
        model.first_stage_model.loadStateDict((await this.firstStage()).stateDict());
      const schedule = risingAndFalling(steps);
      const task = latentDiffusionTask({
        ...{ model, learningRate, schedule, unconditionalProbability },
      });
      await runTraining({ name, folder, task, data, steps, seed, signal });
      await saveLatentDiffusion(saved, model, { ema: task.ema?.ema });
      model.dispose();
    }
    const model = (await loadLatentDiffusion(saved)).eval();
    return { model, record: await this.record(name, model.trainedParameters()) };
  }

  private async record(name: string, parameters: readonly Tensor[]): Promise<TrainingRecord> {
    const { series } = await measurements(this.options.folder, name);
    const loss = series.get('train/loss_simple')?.means() ?? [];
    const last = (counter: string) => series.get(counter)?.last?.[1] ?? 0;
    return {
      name,
      curve: loss.map(([step, value]) => ({ step, loss: value })),
      seconds: last('seconds'),
      images: last('images'),
      parameters: parameters.reduce((sum, { numel }) => sum + numel, 0),
    };
  }
}

const scaled = (steps: number, scale: number): number => Math.max(2, Math.round(steps * scale));
