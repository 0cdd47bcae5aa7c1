import { mapping, integer } from './fields.js';
import { Targets, type Instance } from './targets.js';
export interface DataSpec {
  batchSize: number;
}
export type DataInstance = Instance<DataSpec, unknown, []>;
export const dataModules = new Targets<DataSpec, unknown>('a data module');
dataModules.register(['main.DataModuleFromConfig'], {
  params: mapping<DataSpec>({ batch_size: integer({ min: 1 }) }, ['wrap', 'train', 'validation']),
  build: () => null,
});
