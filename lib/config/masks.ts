// Masks for inpainting by the names of their families.
import { maskFamilies, type MaskFamilyName, type MaskMixture } from '../data/index.js';
import { mapping, number, oneOf, optional, type Field, type FieldsOf } from './fields.js';

const names = Object.keys(maskFamilies) as MaskFamilyName[];

type Weights = Partial<Record<MaskFamilyName, number>>;
const weight = optional(number({ min: 0 }));
const weights = mapping<Weights>(
  Object.fromEntries(names.map((name) => [name, weight])) as FieldsOf<Weights>,
);

/** A family's name, or the weights of several: `{ thick: 1, border: 0.2 }`. */
export const masksField: Field<MaskFamilyName | MaskMixture> = {
  read(node, name) {
    if (node.kind !== 'mapping') return oneOf(...names).read(node, name);
    const of = Object.entries(weights.read(node, name)).map(([family, each]) => ({
      weight: each,
      family: maskFamilies[family as MaskFamilyName],
    }));
    return { kind: 'mixture', of };
  },
};
