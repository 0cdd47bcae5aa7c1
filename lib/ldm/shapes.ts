/** What outlines of networks are made of: the shapes of tensors in files, by key. */
export type Shapes = Record<string, readonly number[]>;

/** Weight and bias of any norm. */
export const norm = (name: string, width: number): Shapes => ({
  [`${name}.weight`]: [width],
  [`${name}.bias`]: [width],
});

/** Weight and bias of a linear layer, or of a convolution with the kernel's sides. */
export const linear = (name: string, to: number, from: number, ...kernel: number[]): Shapes => ({
  [`${name}.weight`]: [to, from, ...kernel],
  [`${name}.bias`]: [to],
});

/** The same tensors inside of something larger. */
export const below = (prefix: string, shapes: Shapes): Shapes =>
  Object.fromEntries(Object.entries(shapes).map(([key, shape]) => [prefix + key, shape]));
