// Training: tasks and what runs them.
export type { AnyOptimizer, Phase, PhaseLoss, StepContext, TrainingTask } from './task.js';
