// Where a value of a configuration was written, and the error that says so.
import { EmulsionError } from '../errors.js';

/** A line of a file, or an override of the command line. */
export interface Place {
  /** the file's path, or the override as it was typed */
  readonly source: string;
  /** from 1; missing for an override */
  readonly line?: number;
  readonly column?: number;
}

/** A configuration that cannot be used: begins with file:line:column and says how to mend it. */
export class ConfigError extends EmulsionError {
  constructor(
    message: string,
    readonly place: Place,
    options?: ErrorOptions,
  ) {
    const { source, line, column } = place;
    super(
      `${line === undefined ? source : `${source}:${line}:${column}`}: ${message}`,
      'ERR_CONFIG',
      options,
    );
  }
}
