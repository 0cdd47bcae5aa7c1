// The classes of a data set, as a model that is conditioned on them will know them.
import { AnnotatedImages, ImageFolder, type DataLoader } from '../data/index.js';
import { check } from '../errors.js';
import { classInputOf, type LatentDiffusionSpec } from '../ldm/index.js';

/**
 * The names of the classes by their ids, where folders tell them, and those of the categories of boxes for a
 * model that is conditioned on layouts; empty for other data and other models.
 *
 * @throws ArgumentError when the pictures lack the classes that the model is conditioned on, or have others
 */
export function classNames(spec: LatentDiffusionSpec, { dataset }: DataLoader): readonly string[] {
  const { conditioner } = spec;
  if (conditioner?.kind === 'bert' && dataset instanceof AnnotatedImages)
    return dataset.categories.map(({ name }) => name);
  const classes = classInputOf(spec);
  if (!classes) return [];
  check(dataset.item(0).label !== undefined, () => {
    return (
      'the model is conditioned on classes, and the pictures have none: put them in a folder for each class and ' +
      "set `labels: folders` in the data set's params."
    );
  });
  if (!(dataset instanceof ImageFolder)) return [];
  // Labels count from 0, and none may be the class that means "none".
  const free = classes.unconditionalClass ?? classes.nClasses;
  check(dataset.classes.length <= free, () => {
    return (
      `the pictures lie in ${dataset.classes.length} class folders, and the model's embedder has ${free} for them ` +
      '(n_classes, or num_classes of the network; unconditional_class).'
    );
  });
  return dataset.classNames;
}
