// Files: checkpoints, safetensors, NumPy's arrays, model folders, pictures, atomic writes.
export { writeFileAtomic, type Append } from './atomic.js';
export { readSafetensors, writeSafetensors, SafetensorsFile } from './safetensors.js';
export { readNpz, writeNpz, type ReadNpzOptions } from './npz.js';
export { describeNpz, visitNpzRows } from './npz_rows.js';
export type { NpyArray, NpyDType, StreamedNpyArray } from './npy.js';
export { openCheckpoint, type Checkpoint } from './checkpoint.js';
export { StorageRef, TensorRef } from './torch/tensor_ref.js';
export { Opaque, PythonName, type CheckpointMap, type CheckpointValue } from './torch/values.js';
export { overlay, withPrefix, type StateReader, type TensorSource } from './state.js';
export { saveModel, openModel, loadConfig } from './model_folder.js';
export type { Json } from './json.js';
export { readImage, readImageSize, writeImage, makeGrid } from './image.js';
export type { ReadImageOptions } from './decode_image.js';
export { drawBoxes, writeBoxes, type BoxDrawingSize, type DrawnBox } from './draw_boxes.js';
export { readClassNames } from './class_names.js';
