// Tensor cores: operands from the wrong places give wrong numbers, which comparison finds.
#include "faults.h"

namespace emulsion::cuda {
namespace {

enum class Mistake {
  none,
  trans_forgotten,
  lanes_swapped,
  rows_swapped,
  accumulator_transposed,
  unaligned_row,
  global_row,
  row_past_end,
  no_barrier,
};

// c [16, 8] = a [16, 16] times b [16, 8], one warp of two; each warp fills half of shared memory.
template <class T, Mistake mistake>
__global__ void multiply(const T* a, const T* b, float* c) {
  EMULSION_SHARED(Pack<T>, tile_a, [16][2]);
  EMULSION_SHARED(Pack<T>, tile_b, [16]);
  const int lane = lane_index();
  if (threadIdx.x >= 32) tile_a[lane / 2][lane % 2] = load_pack(a + 8 * lane);
  if (threadIdx.x >= 32 && lane < 16) tile_b[lane] = load_pack(b + 8 * lane);
  if (mistake != Mistake::no_barrier) __syncthreads();
  if (threadIdx.x >= 32) return;
  int row = lane & 15, half = lane >> 4;
  if (mistake == Mistake::lanes_swapped) {
    row = lane >> 1;
    half = lane & 1;
  }
  uint32_t left[4], right[2];
  const T* from = tile_a[row][half].values;
  if (mistake == Mistake::unaligned_row) from += 4;
  if (mistake == Mistake::global_row) from = a + 16 * row + 8 * half;
  if (mistake == Mistake::row_past_end && lane == 31) from += 8;
  ldmatrix_x4(left, from);  // wrong: unaligned_row, global_row, row_past_end, no_barrier
  if (mistake == Mistake::trans_forgotten)
    ldmatrix_x2(right, tile_b[lane & 15].values);
  else
    ldmatrix_x2_trans(right, tile_b[lane & 15].values);
  if (mistake == Mistake::rows_swapped) {
    const uint32_t other = left[1];
    left[1] = left[2];
    left[2] = other;
  }
  float sums[4] = {};
  mma_m16n8k16<T>(sums, left, right[0], right[1]);
  const int g = lane / 4, t = lane % 4;
  for (int i = 0; i < 4; ++i) {
    const int down = g + 8 * (i / 2), across = 2 * t + i % 2;
    c[mistake == Mistake::accumulator_transposed ? 16 * across + down : 8 * down + across] =
        sums[i];
  }
}

void compare(const std::vector<float>& found, const std::vector<float>& expected) {
  for (size_t i = 0; i < expected.size(); ++i)
    if (std::fabs(found[i] - expected[i]) > 1e-3f * std::fabs(expected[i]) + 1e-3f)
      fail(ErrorCode::internal, "wrong result: ", found[i], " for ", expected[i], " at ", i);
}

template <class T, Mistake mistake>
void run() {
  Buffer a(numbers<T>(16 * 16)), b(numbers<T>(16 * 8));
  Buffer<float> c(16 * 8);
  launch("case", multiply<T, mistake>, Grid{1, 64}, (const T*)a, (const T*)b, (float*)c);
  std::vector<float> expected(16 * 8);
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 8; ++j)
      for (int k = 0; k < 16; ++k)
        expected[8 * i + j] += to_float(a[16 * i + k]) * to_float(b[8 * k + j]);
  compare(c.values(), expected);
}

// c [16, 8] = a [16, 8] times b [8, 8] in TF32, fragments straight from memory.
template <bool wrong>
__global__ void multiply_floats(const float* a, const float* b, float* c) {
  const int lane = lane_index(), g = lane / 4, t = lane % 4;
  uint32_t left[4], right[2];
  for (int i = 0; i < 4; ++i) {
    const int row = wrong ? g + 8 * (i / 2) : g + 8 * (i % 2);
    left[i] = cvt_rna_tf32(a[8 * row + t + 4 * (wrong ? i % 2 : i / 2)]);
  }
  for (int i = 0; i < 2; ++i) right[i] = cvt_rna_tf32(b[8 * (t + 4 * i) + g]);
  float sums[4] = {};
  mma_m16n8k8_tf32(sums, left, right[0], right[1]);
  for (int i = 0; i < 4; ++i) c[8 * (g + 8 * (i / 2)) + 2 * t + i % 2] = sums[i];
}

template <bool wrong>
void run_floats() {
  Buffer a(numbers(16 * 8)), b(numbers(8 * 8));
  Buffer<float> c(16 * 8);
  launch("case", multiply_floats<wrong>, Grid{1, 32}, (const float*)a, (const float*)b, (float*)c);
  std::vector<float> expected(16 * 8);
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 8; ++j)
      for (int k = 0; k < 8; ++k) expected[8 * i + j] += a[8 * i + k] * b[8 * k + j];
  compare(c.values(), expected);
}

}  // namespace

const std::vector<Case> fragment_cases = {
    {"trans_forgotten", run<bfloat16, Mistake::trans_forgotten>, run<bfloat16, Mistake::none>},
    {"lanes_swapped", run<float16, Mistake::lanes_swapped>, run<float16, Mistake::none>},
    {"rows_swapped", run<bfloat16, Mistake::rows_swapped>, run<bfloat16, Mistake::none>},
    {"accumulator_transposed", run<float16, Mistake::accumulator_transposed>,
     run<float16, Mistake::none>},
    {"unaligned_row", run<bfloat16, Mistake::unaligned_row>, run<bfloat16, Mistake::none>},
    {"global_row", run<bfloat16, Mistake::global_row>, run<bfloat16, Mistake::none>},
    {"row_past_end", run<bfloat16, Mistake::row_past_end>, run<bfloat16, Mistake::none>},
    {"no_barrier", run<bfloat16, Mistake::no_barrier>, run<bfloat16, Mistake::none>},
    {"tf32_rows_swapped", run_floats<true>, run_floats<false>},
};

}  // namespace emulsion::cuda
