// Views with strides, copied into contiguous memory.

/** Whether a view's elements already lie one after the other. */
export function isRowMajor(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false;
    expected *= shape[axis];
  }
  return true;
}

/**
 * Copies the elements of a view in row-major order.
 *
 * @param from begins with the view's first element; it and `to` begin at a multiple of `size`
 * @param size bytes of an element: 1, 2, 4 or 8
 * @param shape at least one axis, none of them empty
 * @param strides in elements
 * @param to as many bytes as the view has elements
 */
export function gather(
  from: Uint8Array,
  size: number,
  shape: readonly number[],
  strides: readonly number[],
  to: Uint8Array,
): void {
  const source = asWords(from, size);
  const target = asWords(to, size);
  const last = shape.length - 1;
  const index = Array<number>(last).fill(0);
  let row = 0;
  for (let at = 0; at < target.length; at += shape[last]) {
    for (let i = 0; i < shape[last]; i++) target[at + i] = source[row + i * strides[last]];
    for (let axis = last - 1; axis >= 0; axis--) {
      row += strides[axis];
      if (++index[axis] < shape[axis]) break;
      row -= shape[axis] * strides[axis];
      index[axis] = 0;
    }
  }
}

// Integers, because a NaN that passes through a JavaScript number may lose its payload.
function asWords(bytes: Uint8Array, size: number): Uint8Array {
  const Words = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array }[size]!;
  const words = new Words(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength / size);
  return words as Uint8Array; // elements are only moved: one type stands for all
}
