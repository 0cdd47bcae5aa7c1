// The devices that op cases run on: all of this machine, or those that EMULSION_TEST_DEVICES names.
import { devices, type Device } from '../../lib/index.js';

const wanted = process.env.EMULSION_TEST_DEVICES?.split(',');

export const availableDevices: readonly Device[] = devices().filter(
  ({ name }) => wanted?.includes(name) ?? true,
);
if (availableDevices.length === 0)
  throw new Error(
    `EMULSION_TEST_DEVICES=${wanted} names no device; there are ${devices().join(', ')}`,
  );
