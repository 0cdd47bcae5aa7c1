export { reshape, detach } from './view.js';
export {
  permute,
  transpose,
  concat,
  stack,
  split,
  chunk,
  slice,
  narrow,
  select,
  flip,
  expand,
  tile,
  squeeze,
  unsqueeze,
  flatten,
  type SliceRange,
} from './layout.js';
import './layout_methods.js';
export { pad, type PadOptions } from './pad.js';
export { gather, scatterAdd, indexSelect, indexAdd, oneHot } from './indexing.js';
export { dropout, type DropoutOptions } from './random.js';
