// Noise schedules, closed forms, the training loss, sampler tables and trajectories. These files name no
// op: their kind follows from arguments and tensors.
import {
  concat,
  ddim,
  ddimSchedule,
  ddimTimesteps,
  ddpm,
  GaussianDiffusion,
  guided,
  NoiseSchedule,
  plms,
  type DiffusionConfig,
  type Discretize,
  type SamplerRun,
  type Tensor,
  UNetModel,
} from '../../../lib/index.js';
import { readParameterGradients } from '../differentiate.js';
import type { GoldenCase, Json } from '../golden.js';
import { loadParameters } from '../parameters.js';
import { Unsupported, type Adapter, type Results } from '../runner.js';
import { fromTensor, toTensor } from '../tensors.js';
import { buildNetwork } from './networks.js';

/** The original's names as a config of ours. */
export function diffusionConfig(args: Json): DiffusionConfig {
  return {
    betaSchedule: args.beta_schedule,
    timesteps: args.timesteps,
    linearStart: args.linear_start,
    linearEnd: args.linear_end,
    cosineS: args.cosine_s,
    vPosterior: args.v_posterior,
    parameterization: args.parameterization,
    lossType: args.loss_type,
    lSimpleWeight: args.l_simple_weight,
    originalElboWeight: args.original_elbo_weight,
    learnLogvar: args.learn_logvar,
    logvarInit: args.logvar_init,
  } as DiffusionConfig;
}

/** The network whose weights a case refers to, loaded. */
export async function referredNetwork(golden: GoldenCase): Promise<UNetModel> {
  const { holder, prefix } = await golden.parameterSource();
  if (prefix !== 'param.') throw new Unsupported(`part of a network: ${prefix}`);
  const network = buildNetwork(holder.subject, holder.args);
  if (!(network instanceof UNetModel)) throw new Unsupported(`denoising with ${holder.subject}`);
  await loadParameters(network, golden);
  if (golden.training) network.train();
  else network.eval();
  return network;
}

/** An input as a tensor; the case must have it. */
export async function need(golden: GoldenCase, name: string): Promise<Tensor> {
  const values = await golden.input(name);
  if (!values) throw new Error(`the case has no input '${name}'`);
  return toTensor(values);
}

const vector = (data: ArrayLike<number>) => ({ shape: [data.length], data });

const schedules: Adapter = {
  name: 'noise schedule',
  accuracy: 'table',
  handles: (golden) => golden.has('out.betas'),
  async run(golden) {
    const schedule = new NoiseSchedule(diffusionConfig(golden.args));
    const results: Results = new Map();
    for (const [name, table] of Object.entries(schedule.buffers())) {
      results.set(`out.${name}`, vector(table));
    }
    for (const kind of ['eps', 'x0'] as const) {
      results.set(`out.lvlb_weights_${kind}`, vector(schedule.lvlbWeights[kind]));
    }
    results.set('out.betas_f64', vector(schedule.exact.betas));
    results.set('out.alphas_cumprod_f64', vector(schedule.exact.alphasCumprod));
    return results;
  },
  limit: (_golden, name) => (name.endsWith('_f64') ? 1e-12 : undefined),
};

const ddimTables: Adapter = {
  name: 'DDIM parameters',
  accuracy: 'table',
  handles: (golden) => golden.has('out.timesteps') && golden.args.discretize !== undefined,
  informative: /^out\.sigmas_original_steps$/,
  async run(golden) {
    const { steps, eta, timesteps } = golden.args as {
      steps: number;
      eta?: number;
      timesteps: number;
    };
    const discretize = golden.args.discretize as Discretize;
    const results: Results = new Map();
    results.set('out.timesteps', vector(ddimTimesteps(discretize, steps, timesteps)));
    if (golden.has('out.alphas')) {
      const schedule = new NoiseSchedule(diffusionConfig(golden.args));
      const table = ddimSchedule(schedule, { steps, eta, discretize });
      results.set('out.timesteps', vector(table.timesteps));
      results.set('out.alphas', vector(table.alphas));
      results.set('out.alphas_prev', vector(table.alphasPrev));
      results.set('out.sigmas', vector(table.sigmas));
      results.set('out.sqrt_one_minus_alphas', vector(table.sqrtOneMinusAlphas));
    }
    return results;
  },
  limit: () => 1e-6,
};

const closedForms: Adapter = {
  name: 'diffusion closed forms',
  accuracy: 'elementwise',
  handles: (golden) => golden.has('out.q_sample') && golden.meta.args_schedule !== undefined,
  async run(golden) {
    const diffusion = new GaussianDiffusion(diffusionConfig(golden.meta.args_schedule as Json));
    const [x0, xt, t, noise] = [
      await need(golden, 'x0'),
      await need(golden, 'x_t'),
      await need(golden, 't'),
      await need(golden, 'noise'),
    ];
    const q = diffusion.qMeanVariance(x0, t);
    const posterior = diffusion.qPosterior(x0, xt, t);
    const outputs: Record<string, Tensor> = {
      q_sample: diffusion.qSample(x0, t, noise),
      q_mean: q.mean,
      q_variance: q.variance,
      q_log_variance: q.logVariance,
      predict_start_from_noise: diffusion.predictStartFromNoise(xt, t, noise),
      predict_eps_from_xstart: diffusion.predictEpsFromXstart(xt, t, x0),
      posterior_mean: posterior.mean,
      posterior_variance: posterior.variance,
      posterior_log_variance: posterior.logVarianceClipped,
      prior_bpd: diffusion.priorBpd(x0),
    };
    const results: Results = new Map();
    for (const [name, x] of Object.entries(outputs))
      results.set(`out.${name}`, await fromTensor(x));
    return results;
  },
};

const trainingLoss: Adapter = {
  name: 'training loss',
  accuracy: 'module',
  handles: (golden) =>
    golden.args.parameterization !== undefined &&
    golden.args.optimizer === undefined &&
    golden.inputs.has('in.x_start') &&
    golden.has('out.loss'),
  async run(golden) {
    const network = await referredNetwork(golden);
    const diffusion = new GaussianDiffusion(diffusionConfig(golden.args));
    const [x0, t, noise] = [
      await need(golden, 'x_start'),
      await need(golden, 't'),
      await need(golden, 'noise'),
    ];
    let seen: { noisy: Tensor; output: Tensor } | undefined;
    const losses = diffusion.loss(
      (x, time) => {
        const output = network.forward(x, time);
        seen = { noisy: x, output };
        return output;
      },
      x0,
      t,
      noise,
    );
    losses.loss.backward();

    const results: Results = new Map();
    const outputs: Record<string, Tensor> = {
      loss: losses.loss,
      'log.loss': losses.loss,
      'log.loss_simple': losses.lossSimple,
      'log.loss_vlb': losses.lossVlb,
      'log.loss_gamma': losses.lossGamma,
      x_noisy: seen!.noisy,
      model_output: seen!.output,
    };
    for (const [name, x] of Object.entries(outputs))
      results.set(`out.${name}`, await fromTensor(x));
    await readParameterGradients(network, results);
    if (diffusion.logvar) {
      results.set('out.log.logvar', await fromTensor(diffusion.logvar.mean()));
      results.set('grad.logvar', await fromTensor(diffusion.logvar.grad!));
    }
    return results;
  },
};

const trajectories: Adapter = {
  name: 'sampler',
  accuracy: 'sampler',
  handles: (golden) => golden.args.sampler !== undefined && golden.has('out.x'),
  async run(golden) {
    const run = await startSampler(golden);
    const latents: Tensor[] = [];
    const estimates: Tensor[] = [];
    for await (const { latent, predX0 } of run) {
      latents.push(latent.mul(1));
      estimates.push(predX0.mul(1));
    }
    const results: Results = new Map();
    results.set('out.x', await stackValues(latents));
    results.set('out.pred_x0', await stackValues(estimates));
    return results;
  },
};

async function startSampler(golden: GoldenCase): Promise<SamplerRun> {
  const args = golden.args as Record<string, never>;
  const network = await referredNetwork(golden);
  const optional = async (name: string) =>
    (await golden.input(name)) ? need(golden, name) : undefined;
  // what is conditioned on, and what guidance leads away from
  const conditioning: Record<string, Tensor> = {};
  const unconditional: Record<string, Tensor> = {};
  let isGuided = false;
  for (const name of ['context', 'y', 'c_concat']) {
    const given = await optional(name);
    if (!given) continue;
    const without = await optional(`uncond_${name}`);
    conditioning[name] = given;
    unconditional[name] = without ?? given;
    isGuided ||= without !== undefined;
  }
  const denoise = guided(
    (x, t, { context, y, c_concat: extra }: Record<string, Tensor>) =>
      network.forward(extra ? concat([x, extra], 3) : x, t, { context, y }),
    conditioning,
    isGuided ? unconditional : undefined,
    args.guidance_scale ?? 1,
  );

  const perStep = async (name: string) => {
    const values = await golden.input(name);
    if (!values) return undefined;
    const size = values.data.length / values.shape[0];
    return (step: number) =>
      toTensor({
        ...values,
        shape: values.shape.slice(1),
        data: values.data.slice(step * size, (step + 1) * size),
      });
  };
  const [keepMask, known] = [await optional('mask'), await optional('x0')];
  const options = {
    initial: await need(golden, 'x_T'),
    mask: keepMask && known && { keep: keepMask, known, noise: await perStep('mask_noise') },
  };
  const noisy = {
    noise: await perStep('noise'),
    temperature: args.temperature as number | undefined,
  };
  const config = diffusionConfig(golden.args);
  const diffusion = new GaussianDiffusion(config);
  const { parameterization } = args;
  const spaced = {
    ...{ parameterization, steps: args.steps as number },
    discretize: args.discretize as Discretize,
  };
  switch (args.sampler as string) {
    case 'ddim':
      return ddim(denoise, diffusion.schedule, { ...options, ...noisy, ...spaced, eta: args.eta });
    case 'plms':
      return plms(denoise, diffusion.schedule, { ...options, ...spaced });
    case 'ddpm':
      return ddpm(denoise, diffusion, {
        ...options,
        ...noisy,
        clipDenoised: args.clip_denoised,
      });
    default:
      throw new Unsupported(`sampler '${String(args.sampler)}'`);
  }
}

// [steps, N, C, H, W] from one latent per step
async function stackValues(latents: readonly Tensor[]) {
  const each = await Promise.all(latents.map((x) => fromTensor(x)));
  const size = each[0].data.length;
  const data = new Float32Array(size * each.length);
  each.forEach((step, i) => data.set(step.data, i * size));
  return { shape: [each.length, ...each[0].shape], data };
}

export const diffusion: readonly Adapter[] = [
  schedules,
  ddimTables,
  closedForms,
  trainingLoss,
  trajectories,
];
