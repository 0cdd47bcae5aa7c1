// Both stages in the original's form, so small that a step takes milliseconds.

const ddconfig = `ddconfig:
          {double_z: true, z_channels: 2, resolution: 32, in_channels: 3, out_ch: 3, ch: 8, ch_mult: [1, 1],
           num_res_blocks: 1, attn_resolutions: [], dropout: 0.0, norm_groups: 4}`;

const autoencoder = `model:
  base_learning_rate: 1.0e-04
  target: ldm.models.autoencoder.AutoencoderKL
  params:
    embed_dim: 2
    ${ddconfig}
    lossconfig:
      target: ldm.modules.losses.LPIPSWithDiscriminator
      params:
        {kl_weight: 1.0e-06, disc_start: 50, disc_ndf: 4, disc_num_layers: 2, perceptual_weight: 0}
`;

const diffusion = (firstStage: string) => `model:
  base_learning_rate: 1.0e-04
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: 0.0015
    linear_end: 0.0195
    timesteps: 100
    log_every_t: 50
    first_stage_key: image
    image_size: 16
    channels: 2
    scale_by_std: true
    monitor: val/loss_simple_ema
    scheduler_config:
      target: ldm.lr_scheduler.LambdaLinearScheduler
      params:
        {warm_up_steps: [4], cycle_lengths: [1000], f_start: [1.e-1], f_max: [1.], f_min: [1.]}
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params:
        {image_size: 16, in_channels: 2, out_channels: 2, model_channels: 16, num_res_blocks: 1,
         attention_resolutions: [2], channel_mult: [1, 2], num_heads: 2, norm_groups: 4}
    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params:
        embed_dim: 2
        ckpt_path: ${firstStage}
        ${ddconfig}
        lossconfig:
          target: torch.nn.Identity
    cond_stage_config: __is_unconditional__
`;

const data = (pictures: string, steps: number) => {
  const set = `{target: emulsion.data.ImageFolder, params: {data_root: ${pictures}, size: 32}}`;
  return `data:
  target: main.DataModuleFromConfig
  params:
    batch_size: 4
    num_workers: 1
    train: ${set}
    validation: ${set}
lightning:
  trainer: {benchmark: True, max_steps: ${steps}}
  callbacks: {image_logger: {target: main.ImageLogger, params: {batch_frequency: 12, max_images: 2}}}
emulsion: {save_every: 4, validate_every: 12, log_every: 4}
`;
};

/**
 * Configurations of a first stage, trained for 3 steps on the folder `pictures`, and of a diffusion model on it,
 * trained for 12.
 *
 * @param file names of files: the first stage is expected in `logs/first/model`
 */
export const tinyConfigs = (file: (name: string) => string) => ({
  first: autoencoder + data(file('pictures'), 3),
  second: diffusion(file('logs/first/model')) + data(file('pictures'), 12),
});
