// The devices that this machine offers; cases run on each.
import { devices, type Device } from '../../lib/index.js';

export const availableDevices: readonly Device[] = devices();
