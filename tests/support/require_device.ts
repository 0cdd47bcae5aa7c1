// Ends with an error unless the engine has the device that the first argument names.
import { device, tensor } from '../../lib/index.js';

const wanted = device(process.argv[2]);
const sum = await tensor([1, 2, 3], { device: wanted }).sum().item();
console.log(`${wanted}: 1 + 2 + 3 = ${sum}`);
