// The classes of data sets, as a model that is conditioned on them will know them.
import { AnnotatedImages, ImageFolder, type Category, type DataLoader } from '../data/index.js';
import { check } from '../errors.js';
import { classInputOf, type LatentDiffusionSpec } from '../ldm/index.js';

/**
 * Makes sure that a model knows the classes of all pictures: an id that it lacks would end the training at the
 * first batch that has it, or mean "none".
 *
 * @param known ids from 0 up to this are classes of the model
 * @param options.needs who needs classes, for the error of pictures that have none
 * @param options.settings that say how many classes there are
 * @throws ArgumentError when pictures have no class, or one that the model does not know
 */
export function checkClasses(
  known: number,
  sets: readonly (DataLoader | undefined)[],
  { needs, settings }: { needs: string; settings: string },
): void {
  for (const loader of sets) {
    if (!loader) continue;
    const { dataset } = loader;
    check(dataset.item(0).label !== undefined, () => {
      return (
        `${needs}, and the pictures have none: put them in a folder for each class and ` +
        "set `labels: folders` in the data set's params."
      );
    });
    const folders = dataset instanceof ImageFolder ? dataset.classes.length : 0;
    check(folders <= known, () => {
      return `the pictures lie in ${folders} class folders, and the model has ${known} classes for them (${settings}).`;
    });
    for (let i = 0; i < dataset.length; ++i) {
      const { path, label = 0 } = dataset.item(i);
      check(label < known, () => {
        return (
          `${path} is labelled ${label}, and the model knows the classes 0 to ${known - 1} (${settings}): number ` +
          'the classes from 0, or make room for them.'
        );
      });
    }
  }
}

/** As {@link checkClasses}, of a diffusion model, which may be conditioned on other things. */
export function checkClassesOf(
  spec: LatentDiffusionSpec,
  sets: readonly (DataLoader | undefined)[],
): void {
  const classes = classInputOf(spec);
  if (!classes) return;
  // Labels count from 0, and none may be the class that means "none".
  checkClasses(classes.unconditionalClass ?? classes.nClasses, sets, {
    needs: 'the model is conditioned on classes',
    settings: 'n_classes, or num_classes of the network; unconditional_class',
  });
}

/**
 * Makes sure that the categories of boxes have the same numbers in training and validation, each of which reads
 * its own annotations.
 *
 * @throws ArgumentError that names the first one that differs
 */
export function checkCategories(training: DataLoader, validation: DataLoader | undefined): void {
  const [own, others] = [training, validation].map((loader) =>
    loader?.dataset instanceof AnnotatedImages ? loader.dataset.categories : undefined,
  );
  if (!own || !others) return;
  const text = (category?: Category) => (category ? `${category.id} (${category.name})` : 'none');
  for (let i = 0; i < Math.max(own.length, others.length); ++i)
    check(own[i]?.id === others[i]?.id, () => {
      return (
        `category number ${i} is ${text(own[i])} in the training's annotations and ${text(others[i])} in the ` +
        "validation's: give both files the same categories, or name those that count for both."
      );
    });
}

/**
 * The names of the classes by their ids, where folders tell them, and those of the categories of boxes for a
 * model that is conditioned on layouts; empty for other data and other models.
 */
export function classNames(spec: LatentDiffusionSpec, { dataset }: DataLoader): readonly string[] {
  const { conditioner } = spec;
  if (conditioner?.kind === 'bert' && dataset instanceof AnnotatedImages)
    return dataset.categories.map(({ name }) => name);
  return classInputOf(spec) && dataset instanceof ImageFolder ? dataset.classNames : [];
}
