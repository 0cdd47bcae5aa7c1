// Configurations of first stages: what is known, what is refused, and what options do to the network.
import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  AutoencoderKL,
  autoencoderConfig,
  buildFirstStage,
  Decoder,
  Encoder,
  randn,
  readCodeList,
  vqConfig,
  VQModel,
  type FirstStageConfig,
  type FirstStageSpec,
} from '../../../lib/index.js';
import { temporaryFolder } from '../../io/temporary.js';
import { expectClose } from '../../support/expect_close.js';

const ddconfig = {
  ch: 32,
  outCh: 3,
  chMult: [1, 1],
  numResBlocks: 1,
  attnResolutions: [16, 8],
  inChannels: 3,
  resolution: 16,
  zChannels: 4,
} satisfies FirstStageConfig;
const images = () => randn([1, 16, 16, 3]);
const kl = (options: object) =>
  new AutoencoderKL({ embedDim: 3, ddconfig: { ...ddconfig, ...options } });
const keysOf = (model: AutoencoderKL) => [...model.stateDict().keys()];

describe('options', () => {
  it('vanilla, linear and no attention have keys of their own', () => {
    const attention = (options: object) =>
      new Set(
        keysOf(kl(options))
          .filter((key) => key.includes('.attn'))
          .map((key) => key.replace(/^.*\.attn(_1|\.\d+)\.?/, '')),
      );
    expect([...attention({ attnType: 'none' })]).toEqual([]);
    const linear = ['to_qkv.weight', 'to_out.weight', 'to_out.bias'];
    expect([...attention({ attnType: 'linear' })]).toEqual(linear);
    expect([...attention({ useLinearAttn: true })]).toEqual(linear);
    expect(attention({}).size).toBe(10);
    for (const attnType of ['vanilla', 'linear', 'none']) {
      expect(kl({ attnType }).forward(images()).reconstruction.shape).toEqual([1, 16, 16, 3]);
    }
  });

  it('attention stands where attnResolutions says, by the nominal resolution', () => {
    const blocks = (attnResolutions: number[]) =>
      keysOf(kl({ attnResolutions })).filter((key) => /\.attn\.\d+\.q\.weight$/.test(key));
    expect(blocks([])).toEqual([]);
    expect(blocks([8])).toEqual([
      'encoder.down.1.attn.0.q.weight',
      'decoder.up.1.attn.0.q.weight',
      'decoder.up.1.attn.1.q.weight',
    ]);
  });

  it('resampling without convolutions has no weights', () => {
    const model = kl({ resampWithConv: false });
    expect(keysOf(model).filter((key) => key.includes('sample'))).toEqual([]);
    expect(model.forward(images()).reconstruction.shape).toEqual([1, 16, 16, 3]);
  });

  it('tanhOut ends with a tanh', () => {
    const [plain, bounded] = [new Decoder(ddconfig), new Decoder({ ...ddconfig, tanhOut: true })];
    const { weight } = plain.conv_out;
    plain.conv_out.loadStateDict({ weight: weight.mul(20) }, { strict: false });
    bounded.loadStateDict(plain.stateDict());
    const z = randn([1, 8, 8, 4]);
    const unbounded = plain.forward(z).dataSync() as Float32Array;
    expect(Math.max(...unbounded)).toBeGreaterThan(2);
    expectClose(bounded.forward(z).dataSync(), unbounded.map(Math.tanh), { dtype: 'float32' });
  });

  it('givePreEnd stops before the last norm', () => {
    const z = randn([1, 8, 8, 4]);
    expect(new Decoder({ ...ddconfig, givePreEnd: true }).forward(z).shape).toEqual([
      1, 16, 16, 32,
    ]);
  });

  it('that are undefined take their defaults', () => {
    const unset = { attnType: undefined, chMult: undefined, tanhOut: undefined };
    const full = kl({ ...unset, ch: 32 });
    expect(full.downsampling).toBe(8);
    expect(keysOf(full)).toContain('encoder.mid.attn_1.q.weight');
  });

  it('doubleZ doubles what the encoder gives', () => {
    expect(new Encoder({ ...ddconfig, doubleZ: true }).forward(images()).shape[3]).toBe(8);
    expect(new Encoder({ ...ddconfig, doubleZ: false }).forward(images()).shape[3]).toBe(4);
  });

  it('dropout acts in training only', () => {
    const model = kl({ dropout: 0.5 });
    const x = images();
    const decoded = () => model.forward(x).reconstruction.dataSync();
    expect(decoded()).not.toEqual(decoded());
    model.eval();
    expect(decoded()).toEqual(decoded());
  });

  it('colorizeNlabels keeps a projection for looking at labels', () => {
    const model = new AutoencoderKL({
      embedDim: 3,
      colorizeNlabels: 5,
      ddconfig: { ...ddconfig, inChannels: 5, outCh: 5 },
    });
    expect(model.exportState().get('colorize')!.shape).toEqual([3, 5, 1, 1]);
    expect(model.namedParameters().has('colorize')).toBe(false);
    const rgb = model.toRgb(randn([2, 4, 4, 5]));
    expect(rgb.shape).toEqual([2, 4, 4, 3]);
    expect([rgb.min().itemSync(), rgb.max().itemSync()]).toEqual([-1, expect.closeTo(1, 5)]);
    expect(() => kl({}).toRgb(images())).toThrow(/without colorizeNlabels/);
  });
});

describe('the original parameters', () => {
  const original = {
    double_z: false,
    z_channels: 4,
    resolution: 16,
    in_channels: 3,
    out_ch: 3,
    ch: 32,
    ch_mult: [1, 1],
    num_res_blocks: 1,
    attn_resolutions: [],
    dropout: 0,
  };

  it('of training are accepted and left out', () => {
    const config = vqConfig({
      embed_dim: 3,
      n_embed: 8,
      remap: null,
      sane_index_shape: true,
      use_ema: false,
      batch_resize_range: [224, 288],
      scheduler_config: null,
      lr_g_factor: 1,
      lossconfig: { target: 'torch.nn.Identity' },
      image_key: 'image',
      ckpt_path: null,
      monitor: 'val/rec_loss',
      ddconfig: original,
    });
    expect(Object.keys(config).sort()).toEqual([
      'ddconfig',
      'embedDim',
      'nEmbed',
      'saneIndexShape',
    ]);
    expect(new VQModel(config).encode(images()).indices.shape).toEqual([1, 8, 8]);
  });

  it('of our own may stand beside them', () => {
    const config = vqConfig({
      embed_dim: 3,
      n_embed: 8,
      remap: [1, 5],
      unknown_index: 'extra',
      codebook_ema: { decay: 0.9 },
      restart_dead_codes: { every: 10, min_uses: 2 },
      ddconfig: original,
    });
    expect(config).toMatchObject({
      remap: [1, 5],
      unknownIndex: 'extra',
      codebookEma: { decay: 0.9 },
      restartDeadCodes: { every: 10, minUses: 2 },
    });
    expect(new VQModel(config).quantize.indexCount).toBe(3);
  });

  it('that nobody knows are refused with the nearest known one', () => {
    const params = { embed_dim: 3, ddconfig: { ...original, double_z: true } };
    expect(() => autoencoderConfig({ ...params, embed_dims: 4 })).toThrow(
      /unknown parameter 'embed_dims'. Did you mean 'embed_dim'\?/,
    );
    const ddconfig = { ...original, atn_resolutions: [] };
    expect(() => autoencoderConfig({ ...params, ddconfig })).toThrow(
      /Did you mean 'attn_resolutions'\?/,
    );
    expect(() => vqConfig({ ...params, n_embed: 8, remap: 'used.npy' })).toThrow(/readCodeList/);
  });
});

describe('a spec from outside', () => {
  const good = { kind: 'vq', embedDim: 3, nEmbed: 8, ddconfig };
  const refused: [string, object | null, RegExp][] = [
    ['nothing', null, /kind must be one of kl, vq, vq-interface, identity. Got 'undefined'/],
    ['an unknown kind', { kind: 'gan' }, /Got 'gan'/],
    [
      'an unknown option',
      { ...good, nEmbeds: 3 },
      /unknown option 'nEmbeds'. Did you mean 'nEmbed'\?/,
    ],
    ['a missing option', { ...good, nEmbed: undefined }, /nEmbed is missing/],
    ['text for a number', { ...good, nEmbed: '8' }, /nEmbed must be an integer.*Got "8"/],
    ['an absurd width', { ...good, embedDim: 1e9 }, /embedDim must be an integer from 1 to 4096/],
    ['no ddconfig', { ...good, ddconfig: 7 }, /ddconfig must be a group of options. Got 7/],
    ['no levels', { ...good, ddconfig: { ...ddconfig, chMult: [] } }, /chMult must be a list of 1/],
    [
      'an unknown attention',
      { ...good, ddconfig: { ...ddconfig, attnType: 'flash' } },
      /attnType must be one of vanilla, linear, none. Got "flash"/,
    ],
    ['two moments', { ...good, ddconfig: { ...ddconfig, doubleZ: true } }, /doubleZ must be false/],
    ['codes twice', { ...good, remap: [1, 1] }, /remap must name distinct codes/],
    ['codes that do not exist', { ...good, remap: [8] }, /below nEmbed \(8\)/],
    ['a position beyond', { ...good, remap: [1], unknownIndex: 1 }, /one of the 1 positions/],
    [
      'an empty window',
      { ...good, restartDeadCodes: { every: 0 } },
      /every must be an integer from 1/,
    ],
    [
      'a decay of one',
      { ...good, codebookEma: { decay: 1 } },
      /decay must be a number in \[0, 1\)/,
    ],
  ];

  it.each(refused)('is refused for %s', (_, spec, message) => {
    expect(() => buildFirstStage(spec as FirstStageSpec)).toThrow(message);
  });
});

describe('readCodeList', () => {
  const inFolder = temporaryFolder();
  const npy = (name: string, header: string, data: Uint8Array, magic = '\x93NUMPY') => {
    const path = inFolder(name);
    const text = Buffer.from(header, 'latin1');
    const length = Buffer.from([text.length & 255, text.length >> 8]);
    writeFileSync(
      path,
      Buffer.concat([Buffer.from(`${magic}\x01\x00`, 'latin1'), length, text, data]),
    );
    return path;
  };
  const bytes = (...values: bigint[]) => new Uint8Array(BigInt64Array.from(values).buffer);
  const header = (descr: string, shape: string) =>
    `{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }\n`;

  it('reads what NumPy writes', async () => {
    const path = npy('used.npy', header('<i8', '(3,)'), bytes(7n, 2n, 9n));
    expect(await readCodeList(path)).toEqual([7, 2, 9]);
    const short = new Uint8Array(Int16Array.from([300, 4]).buffer);
    expect(await readCodeList(npy('short.npy', header('<i2', '(2,)'), short))).toEqual([300, 4]);
  });

  it('refuses anything else', async () => {
    const eight = bytes(1n);
    const refused: [string, RegExp][] = [
      [inFolder('none.npy'), /no such file/],
      [npy('a', '', eight, 'PKxxxx'), /not a NumPy array/],
      [npy('b', header('<f8', '(1,)'), eight), /expected integers.*<f8/],
      [npy('c', header('<i8', '(1, 1)'), eight), /one dimension/],
      [npy('d', header('<i8', '(2,)'), eight), /16 bytes. Got 8/],
      [npy('e', header('<i8', '(9007199254740993,)'), eight), /dimension/],
    ];
    for (const [path, message] of refused)
      await expect(readCodeList(path)).rejects.toThrow(message);
  });
});
