// Names of kernels in docs/cuda-kernels.md.
import { expect, test } from 'vitest';

const script: string = '../../scripts/kernel_names.mjs';
const { kernelName } = (await import(script)) as { kernelName: (demangled: string) => string };

const cuda = 'emulsion::cuda::';
const own = `${cuda}(anonymous namespace)::`;

test.each([
  // A kernel of a file's own, with and without a template.
  [`${own}fold_moments(float const*, long)`, 'fold_moments'],
  [
    `void ${own}cast_kernel<emulsion::bfloat16, float, 4>(emulsion::bfloat16 const*)`,
    'cast_kernel',
  ],
  [`void ${cuda}_GLOBAL__N__6cfa_7_pool_cu::mean_kernel<float, 4>(float const*)`, 'mean_kernel'],
  // A class of the file among the arguments is not the kernel's name, nor is its namespace.
  [
    `void ${cuda}gradient_sums<float, 4, false, ${own}ChannelAffine>(float const*, ${own}ChannelAffine)`,
    'gradient_sums<ChannelAffine>',
  ],
  // Products: loaders and epilogue, without tiles, units, element types and arguments of their own.
  [
    `void ${cuda}gemm::gemm_kernel<(${cuda}gemm::Unit)0, ${cuda}gemm::BlockTiles<128, 112, 2, 2, 4, 2>, ` +
      `${cuda}gemm::Matrix<emulsion::float16, false, 8>, ${own}WalkColumns<emulsion::float16, 8>, ` +
      `${own}FilterEpilogue<emulsion::float16> >(${cuda}gemm::Matrix<emulsion::float16, false, 8>)`,
    'gemm_kernel<Matrix, WalkColumns, FilterEpilogue>',
  ],
  [
    `void ${cuda}reduce_rows<${own}Total<float>, float, 4>(${own}Total<float>, ` +
      `${cuda}ReduceSink<${own}Total<float>::Value>)`,
    'reduce_rows<Total>',
  ],
])('%s', (demangled, name) => {
  expect(kernelName(demangled)).toBe(name);
});
