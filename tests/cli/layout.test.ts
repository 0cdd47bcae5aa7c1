// Layout to image as people make it: a model trained from YAML on a folder in COCO's form, pictures of layouts in
// files, and what is told of wrong ones.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import sharp from 'sharp';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import type { LayoutCommandOptions } from '../../lib/cli/layout2img.js';
import { layoutPictures } from '../../lib/cli/layout2img_pictures.js';
import { train } from '../../lib/cli/train_run.js';
import { trainingOf } from '../../lib/cli/trainings.js';
import {
  buildFirstStage,
  loadLatentDiffusion,
  saveFirstStage,
  saveLatentDiffusion,
} from '../../lib/index.js';
import { temporaryFolder } from '../io/temporary.js';
import { plainSpec, shaken, tinySpec } from '../ldm/tiny_diffusion.js';

const file = temporaryFolder();
const ddconfig =
  '{double_z: true, z_channels: 3, resolution: 16, in_channels: 3, out_ch: 3, ch: 8, ch_mult: [1, 2], ' +
  'num_res_blocks: 1, attn_resolutions: [], dropout: 0.0, norm_groups: 4}';

const yaml = () => `model:
  base_learning_rate: 1.0e-03
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    timesteps: 20
    image_size: 8
    channels: 3
    cond_stage_key: coordinates_bbox
    cond_stage_trainable: true
    conditioning_key: crossattn
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params:
        {image_size: 8, in_channels: 3, out_channels: 3, model_channels: 8, num_res_blocks: 1,
         attention_resolutions: [1], channel_mult: [1, 2], num_heads: 2, norm_groups: 4,
         use_spatial_transformer: true, context_dim: 6}
    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params:
        embed_dim: 3
        ckpt_path: ${file('first')}
        ddconfig: ${ddconfig}
        lossconfig: {target: torch.nn.Identity}
    cond_stage_config:
      target: ldm.modules.encoders.modules.BERTEmbedder
      params: {n_embed: 6, n_layer: 1, vocab_size: 104, max_seq_len: 11, use_tokenizer: false}
data:
  target: main.DataModuleFromConfig
  params:
    batch_size: 4
    num_workers: 0
    train:
      target: taming.data.annotated_objects_coco.AnnotatedObjectsCoco
      params:
        {data_path: ${file('coco')}, split: train, keys: [image, objects_bbox], no_tokens: 104, target_image_size: 16,
         min_object_area: 0.00001, min_objects_per_image: 1, max_objects_per_image: 3, use_stuff: false,
         crop_method: random-2d, random_flip: true, use_group_parameter: true, encode_crop: true}
    validation:
      target: emulsion.data.CocoObjects
      params:
        {data_root: ${file('coco/train2017')}, annotations: [${file('coco/annotations/instances_train2017.json')}],
         size: 16, no_tokens: 104, max_objects_per_image: 3}
lightning:
  trainer: {max_steps: 3}
emulsion: {validate_every: 3}
`;

beforeAll(async () => {
  mkdirSync(file('coco/annotations'), { recursive: true });
  mkdirSync(file('coco/train2017'));
  const colours = ['#d00', '#00d'];
  const shapes = Array.from({ length: 8 }, (_, i) => ({ x: 2 * (i % 4), y: i, kind: i % 2 }));
  for (const [i, { x, y, kind }] of shapes.entries()) {
    const square = {
      create: { width: 10, height: 8, channels: 3, background: colours[kind] },
    } as const;
    await sharp({ create: { width: 24, height: 18, channels: 3, background: '#fff' } })
      .composite([{ input: await sharp(square).png().toBuffer(), left: x, top: y }])
      .png()
      .toFile(file(`coco/train2017/${i}.png`));
  }
  writeFileSync(
    file('coco/annotations/instances_train2017.json'),
    JSON.stringify({
      categories: [
        { id: 2, name: 'blue thing' },
        { id: 1, name: 'red thing' },
      ],
      images: shapes.map((_, id) => ({ id, file_name: `${id}.png`, width: 24, height: 18 })),
      annotations: shapes.map(({ x, y, kind }, id) => {
        return { id, image_id: id, category_id: kind + 1, bbox: [x, y, 10, 8], iscrowd: 0 };
      }),
    }),
  );
  const { firstStage } = tinySpec();
  await saveFirstStage(file('first'), buildFirstStage(firstStage));
  writeFileSync(file('layout.yaml'), yaml());
  for (const [name, spec] of Object.entries({ plain: plainSpec(), classes: tinySpec() }))
    await saveLatentDiffusion(file(name), await shaken(spec));
});

/** A file with this layout. */
function layout(name: string, content: unknown): string {
  writeFileSync(file(name), typeof content === 'string' ? content : JSON.stringify(content));
  return file(name);
}

const sample = (options: Partial<LayoutCommandOptions>) =>
  layoutPictures({
    ...{ model: file('logs/scenes'), layout: [], count: 1, batch: 4, sampler: 'ddim', steps: 2 },
    ...{ seed: 0, output: file('out'), quiet: true, ...options },
  });

const red = { category: 'red thing', box: [0, 0, 0.5, 0.5] };

test("a YAML in the original's form trains on a folder of COCO", async () => {
  const log = vi.spyOn(console, 'log').mockImplementation(() => undefined);
  try {
    await train({ command: 'train', base: '--base', trainingOf }, [], {
      ...{ config: [file('layout.yaml')], name: 'scenes', logdir: file('logs') },
    });
  } finally {
    log.mockRestore();
  }
  expect(readFileSync(file('logs/scenes/model/classes.txt'), 'utf8')).toBe(
    'red thing\nblue thing\n',
  );
  const model = await loadLatentDiffusion(file('logs/scenes/model'));
  expect(model.conditioner).toMatchObject({ kind: 'bert', vocabSize: 104, maxSeqLen: 11 });
  model.dispose();
});

test('categories that validation numbers otherwise end a training before it begins', async () => {
  const annotations = file('coco/annotations/instances_train2017.json');
  const { categories, ...rest } = JSON.parse(readFileSync(annotations, 'utf8')) as {
    categories: { id: number }[];
    annotations: { category_id: number }[];
  };
  const other = file('other.json');
  writeFileSync(
    other,
    JSON.stringify({
      ...rest,
      categories: categories.filter(({ id }) => id === 2),
      annotations: rest.annotations.filter((each) => each.category_id === 2),
    }),
  );
  writeFileSync(
    file('other.yaml'),
    yaml().replace(`annotations: [${annotations}]`, `annotations: [${other}]`),
  );
  const training = train({ command: 'train', base: '--base', trainingOf }, [], {
    ...{ config: [file('other.yaml')], name: 'other', logdir: file('logs') },
  });
  await expect(training).rejects.toThrow(
    "category number 0 is 1 (red thing) in the training's annotations and 2 (blue thing) in the validation's",
  );
});

describe('layout2img', () => {
  test('makes pictures of each layout, and draws its boxes beside them', async () => {
    const shares = layout('shares.json', {
      boxes: [red, { category: 1, box: [0.5, 0.5, 0.5, 0.5] }],
    });
    const pixels = layout('pixels.json', {
      ...{ width: 200, height: 100 },
      boxes: [{ category: 'blue thing', box: [0, 0, 100, 50] }],
    });
    await sample({
      layout: [shares, pixels],
      count: 2,
      output: file('made'),
      guidance: 2,
      grid: true,
    });
    expect(readdirSync(file('made'))).toEqual([
      ...[0, 1, 2, 3].flatMap((i) => [`00000${i}.png`, `00000${i}_boxes.png`]),
      ...['grid-000000.png', 'sampling_config.json'],
    ]);
    expect(await sharp(file('made/000003.png')).metadata()).toMatchObject({
      width: 16,
      height: 16,
    });
    const drawn = async (name: string, left: number, top: number) => {
      const at = { left, top, width: 1, height: 1 };
      return [
        ...(await sharp(file(`made/${name}`))
          .extract(at)
          .raw()
          .toBuffer()),
      ];
    };
    // the upper left box's lower edge, the middle of the picture, the lower right box's right edge
    expect(await drawn('000000_boxes.png', 64, 126)).toEqual([0x1f, 0x77, 0xb4]);
    expect(await drawn('000000_boxes.png', 64, 64)).toEqual([255, 255, 255]);
    expect(await drawn('000000_boxes.png', 254, 200)).toEqual([0xff, 0x7f, 0x0e]);
    expect(await drawn('000002_boxes.png', 64, 126)).toEqual([0x1f, 0x77, 0xb4]);
    expect(await drawn('000002_boxes.png', 254, 200)).toEqual([255, 255, 255]);
    // A picture is a function of its seed and layout.
    await sample({ layout: [pixels], seed: 3, output: file('alone'), guidance: 2 });
    expect(
      readFileSync(file('alone/000000.png')).equals(readFileSync(file('made/000003.png'))),
    ).toBe(true);
    expect(
      readFileSync(file('made/000001.png')).equals(readFileSync(file('made/000000.png'))),
    ).toBe(false);
  });

  test('makes pictures of another shape, and draws their boxes in it', async () => {
    await sample({
      layout: [layout('one.json', { boxes: [red] })],
      size: [32, 16],
      output: file('wide'),
    });
    const sizeOf = async (name: string) => {
      const { width, height } = await sharp(file(`wide/${name}`)).metadata();
      return [width, height];
    };
    expect(await sizeOf('000000.png')).toEqual([32, 16]);
    expect(await sizeOf('000000_boxes.png')).toEqual([512, 256]);
  });

  const boxes = (...list: unknown[]) => ({ boxes: list });
  test.each<[string, unknown]>([
    [
      "there is no class 'red thin': expected an id from 0 to 1, or one of red thing; blue thing. Did you mean 'red thing'?",
      boxes({ ...red, category: 'red thin' }),
    ],
    ['box 1 (red thing) must lie in the picture', boxes(red, { ...red, box: [0.6, 0, 0.5, 0.5] })],
    [
      'must lie in the picture',
      { ...boxes({ ...red, box: [0, 0, 50, 50] }), width: 40, height: 100 },
    ],
    ['places for 3 objects. Got 4 boxes', boxes(red, red, red, red)],
    ['boxes[0].box must be four numbers', boxes({ ...red, box: [0, 0, 1] })],
    ['boxes[0].box must be four numbers', boxes({ ...red, box: [0, 0, 1, null] })],
    ['boxes[1].category must be a name or a number', boxes(red, { box: [0, 0, 1, 1] })],
    ['width and height must be numbers above 0', { ...boxes(red), width: 100 }],
    ['unknown key "heigth"', { ...boxes(red), heigth: 1 }],
    ['expected {"boxes"', [red]],
    ['a valid JSON', '{"boxes"'],
  ])('refuses a layout: %s', async (message, content) => {
    await expect(sample({ layout: [layout('wrong.json', content)] })).rejects.toThrow(message);
    await expect(sample({ layout: [file('wrong.json')] })).rejects.toThrow(file('wrong.json'));
    expect(readdirSync(file('.'))).not.toContain('out');
  });

  test('refuses models of other things, and categories without names', async () => {
    const path = layout('fine.json', boxes(red));
    await expect(sample({ layout: [path], model: file('plain') })).rejects.toThrow(
      'Use emulsion sample',
    );
    await expect(sample({ layout: [path], model: file('classes') })).rejects.toThrow(
      'Use emulsion class2img',
    );
    const model = await loadLatentDiffusion(file('logs/scenes/model'));
    await saveLatentDiffusion(file('nameless'), model);
    model.dispose();
    await expect(sample({ layout: [path], model: file('nameless') })).rejects.toThrow(
      '--class-names',
    );
    const classNames = layout('names.txt', 'a\nred thing\n');
    await sample({ layout: [path], model: file('nameless'), classNames, output: file('named') });
    expect(readdirSync(file('named'))).toContain('000000_boxes.png');
  });
});
