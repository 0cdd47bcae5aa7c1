// Time and memory of encoding or decoding one large picture in tiles, with random weights:
//   node --import ./scripts/typescript.mjs bench/tiling.ts decode [--side 2048] [--preset kl-f8]
// One pass for a process, so that the peak of its memory is that pass's and the network's.
import { availableParallelism, cpus } from 'node:os';
import { Argument, Command, Option } from 'commander';
import {
  buildFirstStage,
  decodeTiled,
  encodeTiled,
  engineInfo,
  firstStagePresets,
  noise,
  setDefaultDevice,
  type FirstStage,
  type Tensor,
} from '../lib/index.js';

type Preset = keyof typeof firstStagePresets;

const command = new Command('tiling')
  .description('Times a first stage on one picture in tiles.')
  .addArgument(new Argument('<pass>').choices(['encode', 'decode']))
  .option('--side <pixels>', 'of the picture', Number, 2048)
  .addOption(
    new Option('--preset <name>', 'the first stage')
      .choices(Object.keys(firstStagePresets))
      .default('kl-f8'),
  )
  .parse();
const [pass] = command.args;
const { side, preset } = command.opts<{ side: number; preset: Preset }>();

const engine = engineInfo();
console.log(
  `${cpus()[0].model.trim()}, ${availableParallelism()} processors, Node ${process.version}, ` +
    `${engine.threads} threads, ${engine.level}`,
);
setDefaultDevice('cpu');
const model = buildFirstStage(firstStagePresets[preset]).eval() as FirstStage;
const [input, run] = passOf(pass, side);
await input.device.synchronize();
let tiles = 0;
const onProgress = (_: number, total: number) => (tiles = total);
const [began, used] = [performance.now(), process.cpuUsage()];
const result = await run(onProgress);
await result.device.synchronize();
const seconds = (performance.now() - began) / 1000;
const { user, system } = process.cpuUsage(used);
console.log('pass    network  pixels       tiles  seconds  CPU s  peak RSS, MB');
console.log(
  [
    ...[pass.padEnd(7), preset.padEnd(8), `${side} x ${side}`.padEnd(12)],
    ...[String(tiles).padStart(5), seconds.toFixed(1).padStart(8)],
    ((user + system) / 1e6).toFixed(1).padStart(6),
    ((process.resourceUsage().maxRSS * 1024) / 1e6).toFixed(0).padStart(13),
  ].join(' '),
);

type OnProgress = (done: number, total: number) => void;

function passOf(name: string, pixels: number): [Tensor, (told: OnProgress) => Promise<Tensor>] {
  if (name === 'encode') {
    const images = noise([1, pixels, pixels, 3], { seed: 1 }).clamp(-1, 1);
    return [images, (told) => encodeTiled(model, images, { onProgress: told })];
  }
  const latent = Math.ceil(pixels / model.downsampling);
  const latents = noise([1, latent, latent, model.latentChannels], { seed: 1 });
  return [latents, (told) => decodeTiled(model, latents, { onProgress: told })];
}
