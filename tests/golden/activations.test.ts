// Activations and their gradients against PyTorch's, extremes included: one file, a case per function.
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import * as lib from '../../lib/index.js';
import { readSafetensors, type Tensor } from '../../lib/index.js';

const activations: Record<string, (x: Tensor) => Tensor> = {
  silu: lib.silu,
  gelu_erf: lib.gelu,
  quick_gelu: lib.quickGelu,
  leaky_relu_02: (x) => lib.leakyRelu(x, 0.2),
  relu: lib.relu,
  tanh: lib.tanh,
  sigmoid: lib.sigmoid,
  softplus: lib.softplus,
  geglu: lib.geglu,
};

const file = await readSafetensors(
  fileURLToPath(new URL('./ops/activations.safetensors', import.meta.url)),
);

test.each(Object.keys(activations))('%s', async (name) => {
  const x = await file.get(`${name}/in.x`);
  x.requiresGrad = true;
  const y = activations[name](x);
  y.backward(await file.get(`${name}/up.y`));
  expect(distance(y.detach(), await file.get(`${name}/out.y`))).toBeLessThan(1e-6);
  expect(distance(x.grad!, await file.get(`${name}/grad.in.x`))).toBeLessThan(1e-6);
});

test('every case of the file is here', () => {
  const names = new Set(file.keys.map((key) => key.split('/')[0]));
  expect([...names].sort()).toEqual(Object.keys(activations).sort());
});

/** ‖actual − expected‖ / ‖expected‖ */
function distance(actual: Tensor, expected: Tensor): number {
  expect(actual.shape).toEqual(expected.shape);
  const wanted = expected.dataSync() as Float32Array;
  const errors = (actual.dataSync() as Float32Array).map((value, i) => value - wanted[i]);
  return Math.hypot(...errors) / Math.hypot(...wanted);
}
