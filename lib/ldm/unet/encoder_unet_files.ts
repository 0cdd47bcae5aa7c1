/** Classifiers of noisy latents on the disk. */
import { FileError } from '../../errors.js';
import { openModel, saveModel } from '../../io/model_folder.js';
import { checkLandmarks } from '../landmarks.js';
import { EncoderUNetModel, type EncoderUNetConfig } from './encoder_unet.js';
import { checkEncoderUNetConfig } from './rules.js';

/** Saves a classifier as a folder for {@link loadEncoderUNet}: its config and, under the original's keys, its weights. */
export async function saveEncoderUNet(folder: string, model: EncoderUNetModel): Promise<void> {
  const config = { encoderUNet: model.config };
  await saveModel(folder, { config, weights: model.exportState() });
}

/**
 * Loads a classifier from a folder that {@link saveEncoderUNet} wrote. In eval mode.
 *
 * @throws FileError when the folder is damaged or describes no classifier; ArgumentError with all keys that are
 *   missing, unexpected or of another shape
 */
export async function loadEncoderUNet(folder: string): Promise<EncoderUNetModel> {
  const { config: stored, weights } = await openModel(folder);
  const config = configOf(stored, folder);
  const { modelChannels, inChannels } = config;
  const size = 4 * modelChannels;
  const landmarks = new Map([
    ['input_blocks.0.0.weight', [modelChannels, inChannels, 3, 3]],
    ['time_embed.2.weight', [size, size]],
  ]);
  checkLandmarks('loadEncoderUNet', landmarks, weights);
  const model = new EncoderUNetModel(config);
  try {
    await model.importState(weights);
  } catch (error) {
    model.dispose();
    throw error;
  }
  return model.eval();
}

function configOf(stored: unknown, folder: string): EncoderUNetConfig {
  const config = (stored as { encoderUNet?: unknown } | null)?.encoderUNet;
  if (!config)
    throw new FileError(
      'config.json describes no classifier of noisy latents: it has no "encoderUNet".',
      folder,
    );
  try {
    checkEncoderUNetConfig(config);
  } catch (error) {
    throw new FileError(`config.json: ${(error as Error).message}`, folder);
  }
  return config;
}
