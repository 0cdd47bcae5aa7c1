// What all data sets have in common as targets: where pictures lie, and what becomes of them.
import type { ConditionSource, Dataset, TransformOptions } from '../data/index.js';
import { resizeFilters } from '../data/resize.js';
import { checkTransform } from '../data/transform.js';
import { check } from '../errors.js';
import type { ConditionerSpec } from '../ldm/index.js';
import { ConfigError } from './error.js';
import {
  boolean,
  integer,
  mapping,
  number,
  oneOf,
  optional,
  text,
  type Field,
  type FieldsOf,
} from './fields.js';
import { Targets, type Instance } from './targets.js';

/** Which pictures, and what becomes of them. */
export interface ImageSetSpec {
  readonly transform: TransformOptions;
  /**
   * Lists the pictures.
   * @param name what errors call the data set
   * @param classes those of the training pictures, for folders whose labels must agree with theirs
   */
  open(name: string, classes?: readonly string[]): Promise<Dataset>;
  /** What its pictures are conditioned on, for a model with this conditioner, which takes more than classes. */
  condition?(conditioner: ConditionerSpec): Promise<ConditionSource> | ConditionSource;
}

type Context = [classes?: readonly string[]];

export type DatasetInstance = Instance<ImageSetSpec, Promise<Dataset>, Context>;

/** What may stand as `train` or `validation` of a data module. */
export const datasetTargets = new Targets<ImageSetSpec, Promise<Dataset>, Context>('a data set');

/** @internal Registers a data set by its parameters. */
export function register<P extends object>(
  names: readonly string[],
  fields: FieldsOf<P>,
  toSpec: (params: P) => ImageSetSpec,
  accepted: readonly string[] = [],
): void {
  const given = mapping<P>(fields, accepted);
  const params: Field<ImageSetSpec> = {
    read(node, name) {
      const read = given.read(node, name);
      try {
        const spec = toSpec(read);
        checkTransform(spec.transform);
        return spec;
      } catch (error) {
        // What the transform refuses is told with its place as well, and before anything is built.
        throw new ConfigError((error as Error).message, node.place, { cause: error });
      }
    },
  };
  // Errors call a data set as the configuration does.
  for (const name of names)
    datasetTargets.register([name], {
      params,
      build: (spec, classes) => spec.open(name, classes),
    });
}

/** @internal */
export interface Rooted {
  dataRoot?: string;
}

/** @internal */
export const side = integer({ min: 1 });
/** @internal */
export const share = number({ min: 0, max: 1 });
/** @internal */
export const rooted: FieldsOf<Rooted> = { data_root: optional(text) };

/** @internal @throws ArgumentError that says how to name the folder */
export function rootOf({ dataRoot }: Rooted, name: string): string {
  check(dataRoot, () => {
    return (
      `${name}: say where the pictures are, with data_root in its params; on the command line, ` +
      'data.params.train.params.data_root=FOLDER, and the same below data.params.validation.'
    );
  });
  return dataRoot;
}

/** @internal Everything that the transform can do. */
export interface OwnParams extends Omit<
  TransformOptions,
  'smallestSide' | 'cropFraction' | 'channels'
> {
  smallestSide?: number;
  minCropFraction?: number;
  maxCropFraction?: number;
}

/** @internal */
export const ownFields: FieldsOf<OwnParams> = {
  size: side,
  smallest_side: optional(side),
  min_crop_fraction: optional(share),
  max_crop_fraction: optional(share),
  min_crop_side: optional(side),
  filter: optional(oneOf(...resizeFilters)),
  random_crop: optional(boolean),
  flip: optional(share),
  background: optional(text),
  orient: optional(boolean),
  max_pixels: optional(side),
};

/** @internal */
export function ownTransform(params: OwnParams): TransformOptions {
  const { minCropFraction: min, maxCropFraction: max, ...options } = params;
  check(min !== undefined || max === undefined, () => {
    return `max_crop_fraction needs min_crop_fraction: give both, got ${max} alone.`;
  });
  return min === undefined ? options : { ...options, cropFraction: [min, max ?? 1] };
}
