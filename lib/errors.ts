/** Base of every error that emulsion throws on purpose. `code` is stable across versions. */
export class EmulsionError extends Error {
  constructor(
    message: string,
    readonly code: string = 'ERR_INTERNAL',
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** A value, option or argument that the function cannot work with. */
export class ArgumentError extends EmulsionError {
  constructor(message: string) {
    super(message, 'ERR_INVALID_ARGUMENT');
  }
}

/** Shapes that do not fit each other or the operation. */
export class ShapeError extends EmulsionError {
  constructor(message: string) {
    super(message, 'ERR_SHAPE');
  }
}

/** A dtype that the operation does not take, or dtypes that differ. */
export class DTypeError extends EmulsionError {
  constructor(message: string) {
    super(message, 'ERR_DTYPE');
  }
}

/** A device that does not exist, or tensors on different devices. */
export class DeviceError extends EmulsionError {
  constructor(message: string) {
    super(message, 'ERR_DEVICE');
  }
}

/** A tensor or scope used after it was disposed. */
export class DisposedError extends EmulsionError {
  constructor(message: string) {
    super(message, 'ERR_DISPOSED');
  }
}

/** A file that is missing, damaged or of another format. Names the file and, where known, the byte. */
export class FileError extends EmulsionError {
  constructor(
    message: string,
    readonly path: string,
    readonly offset?: number,
    options?: ErrorOptions,
  ) {
    super(
      `${path}${offset === undefined ? '' : ` (byte ${offset})`}: ${message}`,
      'ERR_FILE',
      options,
    );
  }
}

/** Throws an ArgumentError unless the condition holds. The message is built only when needed. */
export function check(condition: unknown, message: () => string): asserts condition {
  if (!condition) throw new ArgumentError(message());
}

/** Throws a ShapeError unless the condition holds. */
export function checkShape(condition: unknown, message: () => string): asserts condition {
  if (!condition) throw new ShapeError(message());
}

/** Turns a failure of the native engine into the matching class. */
export function nativeError(message: string, code: string): EmulsionError {
  if (code === 'ERR_INVALID_ARGUMENT') return new ArgumentError(message);
  if (code === 'ERR_DISPOSED') return new DisposedError(message);
  return new EmulsionError(message, code);
}
