// Products of which one operand has at most four rows, the depth of both contiguous: a row or a
// column times a matrix, a linear layer of few samples.
//
// Each element of the large operand is read once, so its bandwidth is the roof. A group of one
// warp, or of four where the depth gives each of its lanes a load, takes as many rows of the large
// operand as an epilogue is wide, against all of the small one; its lanes stride over the depth,
// sums meet by shuffles and then, in the order of the warps, in shared memory. Nothing is split
// over blocks.
#pragma once

#include "cuda/gemm.cuh"

namespace emulsion::cuda::gemm {

constexpr int few = 4;
constexpr int thin_threads = 128;

// turned: the few rows are B's, hence columns of C; for epilogues of as many columns.
template <int warps, class Few, class Many, class Epilogue>
__global__ void __launch_bounds__(thin_threads)
    thin_kernel(Few small, Many large, Epilogue epilogue, bool turned, int few_rows, int many_rows,
                int depth, int groups, int batches) {
  using T = typename Many::Element;
  constexpr int width = Many::width, many = Epilogue::width;
  constexpr int groups_per_block = thin_threads / 32 / warps;
  EMULSION_SHARED(float, total, [thin_threads / 32][few][many]);
  const int group = static_cast<int>(blockIdx.x) * groups_per_block + warp_index() / warps;
  const int batch = group / groups, first = (group - batch * groups) * many;

  float sum[few][many] = {};
  if (batch < batches) {
    const T *left[few], *right[many];
#pragma unroll
    for (int f = 0; f < few; ++f) left[f] = small.line(batch, ::min(f, few_rows - 1));
#pragma unroll
    for (int r = 0; r < many; ++r) right[r] = large.line(batch, first + r);
    const int lane = static_cast<int>(threadIdx.x) % (32 * warps);
#pragma unroll 2
    for (int k = lane * width; k < depth; k += 32 * warps * width) {
      Pack<T, width> b[many];
#pragma unroll
      for (int r = 0; r < many; ++r)
        b[r] = right[r] ? load_pack<T, width>(right[r] + k) : Pack<T, width>{};
#pragma unroll
      for (int f = 0; f < few; ++f) {
        if (f >= few_rows) break;
        const auto a = load_pack<T, width>(left[f] + k);
#pragma unroll
        for (int e = 0; e < width; ++e)
#pragma unroll
          for (int r = 0; r < many; ++r)
            sum[f][r] = fmaf(widen(a.values[e]), widen(b[r].values[e]), sum[f][r]);
      }
    }
  }
#pragma unroll
  for (int f = 0; f < few; ++f) {
    if (f >= few_rows) break;
#pragma unroll
    for (int r = 0; r < many; ++r) {
      const float whole = warp_reduce(sum[f][r], Sum());
      if (lane_index() == 0) total[warp_index()][f][r] = whole;
    }
  }
  __syncthreads();
  const int own = static_cast<int>(threadIdx.x) % (32 * warps);
  if (batch >= batches || own >= (turned ? many : few_rows) || (turned && first + own >= many_rows))
    return;
  float v[many] = {};
#pragma unroll
  for (int r = 0; r < many; ++r) {
    if (turned && r >= few_rows) break;
    for (int warp = 0; warp < warps; ++warp) {
      const auto& part = total[warp_index() / warps * warps + warp];
      v[r] += turned ? part[::min(r, few - 1)][own] : part[own][r];
    }
  }
  if (turned)
    finish(epilogue, batch, first + own, 0, few_rows, v);
  else
    finish(epilogue, batch, own, first, many_rows - first, v);
}

template <class Few, class Many, class Epilogue>
void multiply_thin(const char* op, const Few& small, const Many& large, const Epilogue& epilogue,
                   const Problem& p, bool turned = false) {
  const int64_t few_rows = turned ? p.columns : p.rows, many_rows = turned ? p.rows : p.columns;
  check_extents(op, p);
  const int64_t groups = ceil_div(many_rows, Epilogue::width);
  const auto with = [&]<int warps>() {
    const int64_t blocks = ceil_div(groups * p.batches, thin_threads / 32 / warps);
    EMULSION_CHECK(groups * p.batches < int64_t{1} << 31, op, ": too many products in a batch");
    launch(op, thin_kernel<warps, Few, Many, Epilogue>,
           Grid{dim3(static_cast<unsigned>(blocks)), dim3(thin_threads)}, small, large, epilogue,
           turned, static_cast<int>(few_rows), static_cast<int>(many_rows),
           static_cast<int>(p.depth), static_cast<int>(groups), static_cast<int>(p.batches));
  };
  if constexpr (Many::width > 1) {
    if (p.depth < 64 * Many::width) return with.template operator()<1>();
  }
  with.template operator()<4>();
}

}  // namespace emulsion::cuda::gemm
