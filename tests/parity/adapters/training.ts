// Optimizers, the moving average, learning-rate schedules, and short trainings of whole networks.
import {
  Adam,
  AdamW,
  AutoencoderKL,
  Ema,
  GaussianDiffusion,
  gradNorm,
  LambdaLinearScheduler,
  LambdaWarmUpCosineScheduler,
  LambdaWarmUpCosineScheduler2,
  LPIPSWithDiscriminator,
  noGrad,
  tidy,
  UNetModel,
  type Module,
  type Tensor,
} from '../../../lib/index.js';
import { assign } from '../../../lib/nn/state.js';
import { readParameters } from '../differentiate.js';
import type { GoldenCase, Json, Values } from '../golden.js';
import { loadParameters } from '../parameters.js';
import { Unsupported, type Adapter, type Results } from '../runner.js';
import { currentPrecision, fromTensor, toTensor } from '../tensors.js';
import { diffusionConfig } from './diffusion.js';
import { buildNetwork } from './networks.js';

const vector = (data: ArrayLike<number>) => ({ shape: [data.length], data });

function makeOptimizer(kind: unknown, parameters: Iterable<Tensor>, args: Json): Adam {
  const options = {
    lr: args.lr as number,
    betas: args.betas as [number, number],
    eps: args.eps as number,
    weightDecay: args.weight_decay as number,
  };
  if (kind === 'AdamW') return new AdamW(parameters, options);
  if (kind === 'Adam') return new Adam(parameters, options);
  throw new Unsupported(`optimizer '${String(kind)}'`);
}

/** Row `i` of an input whose first axis is the step. */
function row(values: Values, i: number): Values {
  const size = values.data.length / values.shape[0];
  return {
    ...values,
    shape: values.shape.slice(1),
    data: values.data.slice(i * size, (i + 1) * size),
  };
}

/** Appends the numbers of each step to one table per name. */
class History {
  readonly #rows = new Map<string, number[]>();

  async push(name: string, x: Tensor): Promise<void> {
    const rows = this.#rows.get(name) ?? [];
    this.#rows.set(name, rows);
    for (const value of (await x.data()) as Float32Array) rows.push(value);
  }

  write(results: Results, steps: number): void {
    for (const [name, rows] of this.#rows) {
      const width = rows.length / steps;
      results.set(`out.${name}`, { shape: width === 1 ? [steps] : [steps, width], data: rows });
    }
  }
}

const adam: Adapter = {
  name: 'adam',
  accuracy: 'elementwise',
  handles: (golden) => golden.subject === 'adam',
  async run(golden) {
    const gradients = (await golden.input('g'))!;
    const steps = gradients.shape[0];
    const p = toTensor(await startOfRun(golden), 'same', true);
    const optimizer = makeOptimizer(golden.args.kind, [p], golden.args);
    const history = new History();
    for (let i = 0; i < steps; i++) {
      p.grad = toTensor(row(gradients, i), 'same');
      optimizer.step();
      const state = optimizer.stateDict().tensors;
      await history.push('p', p);
      await history.push('m', state['exp_avg.0']);
      await history.push('v', state['exp_avg_sq.0']);
    }
    const results: Results = new Map();
    history.write(results, steps);
    return results;
  },
};

/**
 * The parameter before the first step. Some files hold the parameter after the last step as `in.p`, because
 * PyTorch's optimizers write in place; then the start follows from the first step, in which both moments
 * are those of one gradient: p1 = p0 (1 - lr wd) - lr g / (|g| + eps), the middle term with AdamW only.
 */
async function startOfRun(golden: GoldenCase): Promise<Values> {
  const start = (await golden.input('p'))!;
  const after = await golden.values('out.p');
  const count = start.data.length;
  const last = after.data.slice(-count);
  const written = start.data.every((value, i) => Math.abs(value - last[i]) <= 1e-5);
  if (!written) return start;
  const { kind, lr, betas, eps, weight_decay: decay } = golden.args as Record<string, never>;
  const moments = (await golden.values('out.m')).data;
  const data = Float64Array.from({ length: count }, (_, i) => {
    const gradient = moments[i] / (1 - betas[0]);
    const before = after.data[i] + (lr * gradient) / (Math.abs(gradient) + eps);
    return kind === 'AdamW' ? before / (1 - lr * decay) : before;
  });
  return { ...start, data };
}

const movingAverage: Adapter = {
  name: 'LitEma',
  accuracy: 'elementwise',
  handles: (golden) => golden.subject === 'LitEma',
  async run(golden) {
    const names = golden.inputs.named('in.w.');
    const weights = new Map<string, Values>();
    for (const name of names) weights.set(name, (await golden.input(`w.${name}`))!);
    const steps = weights.get(names[0])!.shape[0] - 1;
    const shapeOf = (name: string) => weights.get(name)!.shape.slice(1);

    // slice 0 is the state at construction; every later one an update
    const parameters = names.map(
      (name) => [name, toTensor(row(weights.get(name)!, 0), 'same')] as const,
    );
    const ema = new Ema(parameters, {
      decay: golden.args.decay as number,
      useNumUpdates: golden.args.use_num_updates as boolean,
    });
    const history = new History();
    const decays: number[] = [];
    for (let step = 1; step <= steps; step++) {
      for (const [name, parameter] of parameters) {
        assign(parameter, toTensor(row(weights.get(name)!, step), 'same'));
      }
      decays.push(ema.nextDecay);
      ema.update();
      const state = ema.stateDict();
      for (const name of names)
        await history.push(`shadow.${name}`, state[name.replaceAll('.', '')]);
    }
    const results: Results = new Map();
    history.write(results, steps);
    for (const name of names) {
      const { data } = results.get(`out.shadow.${name}`)!;
      results.set(`out.shadow.${name}`, { shape: [steps, ...shapeOf(name)], data });
    }
    results.set('out.decay_used', vector(decays));
    results.set('out.num_updates', vector([ema.numUpdates]));
    for (const [key, x] of Object.entries(ema.stateDict())) {
      results.set(`out.state.${key}`, await fromTensor(x, 'same'));
    }
    return results;
  },
};

const cycles = { LambdaWarmUpCosineScheduler2, LambdaLinearScheduler } as const;

const learningRates: Adapter = {
  name: 'learning-rate schedule',
  accuracy: 'table',
  handles: (golden) => golden.has('out.multiplier') && golden.args.cls !== undefined,
  async run(golden) {
    const { cls, ...options } = golden.args;
    const schedule =
      cls === 'LambdaWarmUpCosineScheduler'
        ? new LambdaWarmUpCosineScheduler(options as never)
        : cls === 'LambdaWarmUpCosineScheduler2' || cls === 'LambdaLinearScheduler'
          ? new cycles[cls](options as never)
          : undefined;
    if (!schedule) throw new Unsupported(`learning-rate schedule '${String(cls)}'`);
    const steps = (await golden.input('n'))!;
    const multipliers = Array.from(steps.data, (n) => schedule.schedule(n));
    return new Map([['out.multiplier', { shape: steps.shape, data: multipliers }]]);
  },
  limit: () => 1e-12,
};

/**
 * Under Adam a gradient that is nearly zero takes a whole step in the direction of its rounding error. The
 * files say how far that carried single parameters of PyTorch's float32 run: outputs of the trained network
 * may be off by ten times as much, relative.
 */
function trainingLimit(golden: GoldenCase, name: string): number | undefined {
  const { param_max_abs_difference: farthest = 0, param_norm_max_rel_difference: norm = 0 } =
    golden.f32Error as Record<string, number>;
  if (/^(param|ema)stat\./.test(name)) return Math.max(1e-4, 10 * norm);
  if (name.endsWith('_after')) return Math.max(10 * golden.measuredError(name), 10 * farthest);
  return undefined;
}

const training: Adapter = {
  name: 'training',
  accuracy: 'training',
  handles: (golden) => golden.args.optimizer !== undefined && golden.has('out.loss'),
  informative: /^out\.loss_float32_run$/,
  limit: trainingLimit,
  async run(golden) {
    const { holder } = await golden.parameterSource();
    const network = buildNetwork(holder.subject, holder.args);
    await loadParameters(network, golden);
    network.train();
    if (network instanceof UNetModel) return trainUNet(golden, network);
    if (network instanceof AutoencoderKL) return trainAutoencoder(golden, network);
    throw new Unsupported(`training of ${holder.subject}`);
  },
};

async function trainUNet(golden: GoldenCase, network: UNetModel): Promise<Results> {
  const diffusion = new GaussianDiffusion(diffusionConfig(golden.args));
  const [x0, noise, t] = await Promise.all(
    ['x_start', 'noise', 't'].map((name) => golden.input(name)),
  );
  const ema = new Ema(network.namedParameters(), { decay: golden.args.ema_decay as number });
  const batch = (i: number) => [x0!, t!, noise!].map((values) => toTensor(row(values, i)));
  const results = await train(
    golden,
    network,
    (i) => {
      const [clean, times, eps] = batch(i);
      const { loss } = diffusion.loss((x, at) => network.forward(x, at), clean, times, eps);
      return { loss };
    },
    () => ema.update(),
  );

  const [clean, times, eps] = batch(0);
  const after = noGrad(() => network.forward(diffusion.qSample(clean, times, eps), times));
  results.set('out.model_output_after', await fromTensor(after));
  await readParameters(network, results);
  ema.copyTo();
  await readParameters(network, results, 'ema');
  return results;
}

async function trainAutoencoder(golden: GoldenCase, network: AutoencoderKL): Promise<Results> {
  const args = golden.args as Record<string, number>;
  if (args.perceptual_weight !== 0 || args.disc_factor !== 0) {
    throw new Unsupported('training with perceptual or adversarial loss');
  }
  const [images, noise] = [(await golden.input('x'))!, (await golden.input('eps'))!];
  const objective = new LPIPSWithDiscriminator({
    discStart: 0,
    discFactor: 0,
    perceptualWeight: 0,
    klWeight: args.kl_weight,
    logvarInit: args.logvar,
    skipIdleDiscriminator: true, // its images are too small for one
  }).to(currentPrecision());
  const results = await train(golden, network, (i) => {
    const inputs = toTensor(row(images, i));
    const { reconstruction, posterior } = network.forward(inputs, toTensor(row(noise, i)));
    const { loss, log } = objective.generatorLoss({
      inputs,
      reconstructions: reconstruction,
      posterior,
      lastLayer: network.decoder.conv_out.weight,
      globalStep: i,
    });
    return { loss, rec_loss_mean: log.rec_loss, kl_loss: log.kl_loss };
  });
  objective.dispose();
  const after = noGrad(() => network.forward(toTensor(row(images, 0))));
  results.set('out.mode_reconstruction_after', await fromTensor(after.reconstruction));
  await readParameters(network, results);
  return results;
}

/** Optimizer steps on the losses of each step; tables of losses and gradient norms. */
async function train(
  golden: GoldenCase,
  network: Module,
  losses: (step: number) => Record<string, Tensor> & { loss: Tensor },
  afterStep: () => void = () => {},
): Promise<Results> {
  const steps = golden.args.steps as number;
  const parameters = [...network.parameters()];
  const optimizer = makeOptimizer(golden.args.optimizer, parameters, golden.args);
  const history = new History();
  for (let step = 0; step < steps; step++) {
    await tidy(async () => {
      const logged = losses(step);
      optimizer.zeroGrad();
      logged.loss.backward();
      await history.push('grad_norm', gradNorm(parameters));
      for (const [name, x] of Object.entries(logged)) await history.push(name, x);
      optimizer.step();
      afterStep();
    });
  }
  const results: Results = new Map();
  history.write(results, steps);
  return results;
}

export const trainings: readonly Adapter[] = [adam, movingAverage, learningRates, training];
