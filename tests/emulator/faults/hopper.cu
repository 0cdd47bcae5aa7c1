// sm_90: bulk copies, mbarriers, named barriers and wgmma, in the shape of a matrix product with
// one warpgroup that fetches and one that multiplies.
#include "cuda/descriptor.cuh"
#include "faults.h"

namespace emulsion::cuda {
namespace {

enum class Mistake {
  none,
  no_full_wait,
  no_empty_wait,
  early_release,
  no_init_fence,
  no_init_barrier,
  too_many_bytes,
  wrong_parity,
  no_fence,
  half_fence,
  no_sync,
  no_store_wait,
  no_wgmma_fence,
  no_wgmma_wait,
  wrong_stride,
  wrong_barrier_count,
  a_from_registers,
  b_transposed,
};

constexpr int rows = 64, columns = 64, deep = 64, stages = 2, steps = 5;
constexpr int tile_bytes = 64 * 128, threads = 256;

// c [64, 64] = a [64, depth] times b [64, depth] transposed, or b [depth, 64].
template <class T, Mistake mistake>
__global__ void multiply(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b,
                         const __grid_constant__ TensorMap c) {
  EMULSION_SHARED(uint64_t, barriers, [2 * stages]);
  constexpr int step_deep = 128 / sizeof(T);
  uint64_t *full = barriers, *empty = barriers + stages;
  unsigned char* tiles = dynamic_shared();
  const int self = threadIdx.x;
  if (self == 0) {
    for (int i = 0; i < stages; ++i) {
      mbarrier_init(full + i, 1);
      mbarrier_init(empty + i, 128);
    }
    if (mistake != Mistake::no_init_fence) fence_mbarrier_init();
  }
  if (mistake != Mistake::no_init_barrier) __syncthreads();
  if (self < 128) {
    setmaxnreg_dec<40>();
    if (self != 0) return;
    for (int step = 0; step < steps; ++step) {
      const int stage = step % stages, turn = step / stages;
      unsigned char* tile = tiles + 2 * stage * tile_bytes;
      if (mistake != Mistake::no_empty_wait) mbarrier_wait(empty + stage, 1 - turn % 2);
      const int bytes = 2 * tile_bytes + (mistake == Mistake::too_many_bytes ? 16 : 0);
      mbarrier_arrive_expect_tx(full + stage, bytes);  // also: no_empty_wait
      const int from[2] = {step * step_deep, 0}, turned[2] = {0, step * step_deep};
      bulk_load(tile, a, full + stage, from);  // wrong: no_empty_wait, early_release, no_init_fence
      const auto& from_b = mistake == Mistake::b_transposed ? turned : from;
      bulk_load(tile + tile_bytes, b, full + stage, from_b);  // also: early_release
    }
    return;
  }
  setmaxnreg_inc<240>();
  float sums[columns / 2];
  for (int step = 0; step < steps; ++step) {
    const int stage = step % stages, turn = step / stages;
    const unsigned char* tile = tiles + 2 * stage * tile_bytes;
    const int odd = mistake == Mistake::wrong_parity ? 1 - turn % 2 : turn % 2;
    if (mistake != Mistake::no_full_wait)
      mbarrier_wait(full + stage, odd);  // also: no_init_barrier, wrong_parity
    uint32_t left[4][4];
    if (mistake == Mistake::a_from_registers)
      for (int k = 0; k < 4; ++k) {
        const int row = (self - 128) / 32 * 16 + (self & 15), chunk = 2 * k + (self >> 4 & 1);
        ldmatrix_x4(left[k], tile + 128 * row + 16 * (chunk ^ (row & 7)));
      }
    if (mistake != Mistake::no_wgmma_fence) wgmma_fence();
    for (int k = 0; k < 4; ++k) {
      const int stride = mistake == Mistake::wrong_stride ? 512 : 1024;
      const uint64_t x = wgmma_descriptor(tile + 32 * k, 16, stride, Swizzle::bytes128);
      const bool keep = step > 0 || k > 0;
      if constexpr (mistake == Mistake::b_transposed) {
        const uint64_t y =
            wgmma_descriptor(tile + tile_bytes + 2048 * k, 16, 1024, Swizzle::bytes128);
        wgmma<T, columns, false, true>(sums, x, y, keep);
      } else {
        const uint64_t y =
            wgmma_descriptor(tile + tile_bytes + 32 * k, 16, 1024, Swizzle::bytes128);
        if constexpr (mistake == Mistake::a_from_registers)
          wgmma<T, columns>(sums, left[k], y, keep);
        else
          wgmma<T, columns>(sums, x, y, keep);  // wrong: no_full_wait, no_wgmma_fence, wrong_parity
      }
    }
    wgmma_commit();
    if (mistake == Mistake::early_release) mbarrier_arrive(empty + stage);
    if (mistake != Mistake::no_wgmma_wait || step + 1 < steps) wgmma_wait<0>();
    if (mistake != Mistake::early_release) mbarrier_arrive(empty + stage);
  }
  // The last tiles have been read by all when every thread is here.
  const int here = mistake == Mistake::wrong_barrier_count ? 256 : 128;
  barrier_sync(1, here);                           // wrong: wrong_barrier_count
  auto* staged = reinterpret_cast<float*>(tiles);  // [2][rows][32]
  const int lane = self & 31, g = lane / 4, t = lane % 4, top = (self - 128) / 32 * 16 + g;
  for (int j = 0; j < columns / 8; ++j)
    for (int i = 0; i < 2; ++i)
      for (int h = 0; h < 2; ++h) {
        const int column = 8 * j + 2 * t + h, row = top + 8 * i;
        float* to = staged + (column / 32 * rows + row) * 32 + column % 32;
        const float value = sums[4 * j + 2 * i + h];
        if (mistake == Mistake::half_fence)
          for (int k = 0; k < 2; ++k)
            reinterpret_cast<uint16_t*>(to)[k] =
                static_cast<uint16_t>(__float_as_uint(value) >> (16 * k));
        else
          *to = value;  // wrong: no_wgmma_wait
      }
  if (mistake != Mistake::no_fence && mistake != Mistake::half_fence) fence_proxy_async();
  if (mistake != Mistake::no_sync) barrier_sync(1, 128);
  if (self == 128) {
    for (int i = 0; i < 2; ++i) {
      const float* from = staged + i * rows * 32;
      const int at[2] = {32 * i, 0};
      bulk_store(c, from, at);  // wrong: no_fence, half_fence, no_sync, no_store_wait
    }
    bulk_commit();
    if (mistake != Mistake::no_store_wait) bulk_wait_read<0>();
  }
}

template <class T, Mistake mistake>
void run() {
  constexpr int step_deep = 128 / sizeof(T), depth = steps * step_deep - 8;  // the last is narrow
  constexpr bool turned = mistake == Mistake::b_transposed;
  constexpr DType dtype = __is_same(T, float)      ? DType::float32
                          : __is_same(T, bfloat16) ? DType::bfloat16
                                                   : DType::float16;
  Buffer a(numbers<T>(rows * depth)), b(numbers<T>(columns * depth));
  Buffer<float> c(rows * columns);
  constexpr auto size = static_cast<int64_t>(sizeof(T));
  const auto wide = [&](const T* base, int64_t lines) {
    return make_tensor_map("case", base, dtype,
                           {2, {depth, lines}, {size, size * depth}, {step_deep, 64}, 128});
  };
  const TensorMap map_a = wide(a, rows);
  const TensorMap map_b =
      turned ? make_tensor_map("case", (T*)b, dtype,
                               {2, {columns, depth}, {size, size * columns}, {64, 64}, 128})
             : wide(b, columns);
  const TensorMap map_c = make_tensor_map("case", (float*)c, DType::float32,
                                          {2, {columns, rows}, {4, 4 * columns}, {32, rows}, 0});
  launch("case", multiply<T, mistake>, Grid{1, threads, 2 * stages * tile_bytes}, map_a, map_b,
         map_c);
  const std::vector<float> found = c.values();
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; ++j) {
      float sum = 0;
      for (int k = 0; k < depth; ++k)
        sum +=
            to_float(a[depth * i + k]) * to_float(turned ? b[columns * k + j] : b[depth * j + k]);
      const float value = found[columns * i + j];
      if (!(std::fabs(value - sum) <= 1e-3f * std::fabs(sum) + 1e-3f))
        fail(ErrorCode::internal, "wrong result: ", value, " for ", sum, " at ", i, ", ", j);
    }
}

// c [taps, 64, 64]: 8 x 8 pixels of an image of 10 x 10 at each shift of a 3x3 filter, times b [64,
// 64] transposed. The pixels' descriptor begins at any row of the swizzled tile, and its groups of
// 8 rows are 10 rows apart.
constexpr int image_side = 10, filter_side = 3, taps = filter_side * filter_side;
template <bool wrong>
__global__ void multiply_shifted(const __grid_constant__ TensorMap image,
                                 const __grid_constant__ TensorMap b, float* c) {
  EMULSION_SHARED(uint64_t, barrier, [1]);
  constexpr int image_bytes = 13 * 1024;  // whole groups of 8 rows
  unsigned char* const pixels = dynamic_shared();
  unsigned char* const columns_b = pixels + image_bytes;
  const int self = threadIdx.x;
  if (self == 0) {
    mbarrier_init(barrier, 1);
    fence_mbarrier_init();
    mbarrier_arrive_expect_tx(barrier, image_side * image_side * 128 + tile_bytes);
    const int from[2] = {0, 0};
    bulk_load(pixels, image, barrier, from);
    bulk_load(columns_b, b, barrier, from);
  }
  __syncthreads();
  mbarrier_wait(barrier, 0);
  const int lane = self & 31, g = lane / 4, t = lane % 4, top = self / 32 * 16 + g;
  for (int tap = 0; tap < taps; ++tap) {
    const int shift = tap / filter_side * image_side + tap % filter_side;
    float sums[columns / 2];
    wgmma_fence();
    for (int k = 0; k < 4; ++k) {
      const int stride = 128 * (wrong ? 8 : image_side);
      wgmma<bfloat16, columns>(
          sums, wgmma_descriptor(pixels + 128 * shift + 32 * k, 16, stride, Swizzle::bytes128),
          wgmma_descriptor(columns_b + 32 * k, 16, 1024, Swizzle::bytes128), k > 0);
    }
    wgmma_commit();
    wgmma_wait<0>(sums);
    for (int j = 0; j < columns / 2; ++j)
      c[(rows * tap + top + 8 * (j / 2 % 2)) * columns + j / 4 * 8 + 2 * t + j % 2] = sums[j];
  }
}
template <bool wrong>
void run_shifted() {
  Buffer image(numbers<bfloat16>(image_side * image_side * deep));
  Buffer b(numbers<bfloat16>(columns * deep));
  Buffer<float> c(taps * rows * columns);
  const auto lines = [](const bfloat16* base, int count) {
    return make_tensor_map("case", base, DType::bfloat16,
                           {2, {deep, count}, {2, 2 * deep}, {deep, count}, 128});
  };
  launch("case", multiply_shifted<wrong>, Grid{1, 128, 13 * 1024 + tile_bytes},
         lines(image, image_side * image_side), lines(b, columns), (float*)c);
  const std::vector<float> found = c.values();
  for (int tap = 0; tap < taps; ++tap)
    for (int row = 0; row < rows; ++row)
      for (int j = 0; j < columns; ++j) {
        const int pixel = (row / 8 + tap / filter_side) * image_side + row % 8 + tap % filter_side;
        float sum = 0;
        for (int k = 0; k < deep; ++k)
          sum += to_float(image[deep * pixel + k]) * to_float(b[deep * j + k]);
        const float value = found[(rows * tap + row) * columns + j];
        if (!(std::fabs(value - sum) <= 1e-3f * std::fabs(sum) + 1e-3f))
          fail(ErrorCode::internal, "wrong result: ", value, " for ", sum, " at ", tap, ", ", row,
               ", ", j);
      }
}

// Two halves of a block hand a value to and fro by two named barriers.
template <bool wrong>
__global__ void to_and_fro(float* y) {
  EMULSION_SHARED(float, array, [64]);
  const int self = threadIdx.x % 64;
  float sum = 0;
  for (int i = 0; i < 4; ++i)
    if (threadIdx.x < 64) {
      if (i > 0) barrier_sync(2, 128);
      array[self] = 1;  // also: named_barrier_missing
      barrier_arrive(1, 128);
    } else {
      barrier_sync(1, 128);
      sum += array[63 - self];  // wrong: named_barrier_missing
      if (i < 3 && !wrong) barrier_arrive(2, 128);
      if (i < 3 && wrong) {
        barrier_arrive(2, 128);
        sum += array[self];  // also: named_barrier_missing
      }
    }
  y[threadIdx.x] = sum;
}
template <bool wrong>
void run_named() {
  Buffer<float> y(128);
  launch("case", to_and_fro<wrong>, Grid{1, 128}, (float*)y);
}

}  // namespace

const std::vector<Case> hopper_cases = {
    {"products", nullptr, run<bfloat16, Mistake::none>},
    {"products_half", nullptr, run<float16, Mistake::none>},
    {"products_tf32", nullptr, run<float, Mistake::none>},
    {"products_registers", nullptr, run<bfloat16, Mistake::a_from_registers>},
    {"products_transposed", nullptr, run<bfloat16, Mistake::b_transposed>},
    {"products_shifted", run_shifted<true>, run_shifted<false>},
    {"no_full_wait", run<bfloat16, Mistake::no_full_wait>, run<bfloat16, Mistake::none>},
    {"no_empty_wait", run<bfloat16, Mistake::no_empty_wait>, run<bfloat16, Mistake::none>},
    {"early_release", run<bfloat16, Mistake::early_release>, run<bfloat16, Mistake::none>},
    {"no_init_fence", run<bfloat16, Mistake::no_init_fence>, run<bfloat16, Mistake::none>},
    {"no_init_barrier", run<bfloat16, Mistake::no_init_barrier>, run<bfloat16, Mistake::none>},
    {"too_many_bytes", run<bfloat16, Mistake::too_many_bytes>, run<bfloat16, Mistake::none>},
    {"wrong_parity", run<bfloat16, Mistake::wrong_parity>, run<bfloat16, Mistake::none>},
    {"no_fence", run<bfloat16, Mistake::no_fence>, run<bfloat16, Mistake::none>},
    {"half_fence", run<bfloat16, Mistake::half_fence>, run<bfloat16, Mistake::none>},
    {"no_sync", run<bfloat16, Mistake::no_sync>, run<bfloat16, Mistake::none>},
    {"no_store_wait", run<bfloat16, Mistake::no_store_wait>, run<bfloat16, Mistake::none>},
    {"no_wgmma_fence", run<bfloat16, Mistake::no_wgmma_fence>, run<bfloat16, Mistake::none>},
    {"no_wgmma_wait", run<bfloat16, Mistake::no_wgmma_wait>, run<bfloat16, Mistake::none>},
    {"wrong_stride", run<bfloat16, Mistake::wrong_stride>, run<bfloat16, Mistake::none>},
    {"wrong_barrier_count", run<bfloat16, Mistake::wrong_barrier_count>,
     run<bfloat16, Mistake::none>},
    {"named_barrier_missing", run_named<true>, run_named<false>},
};

}  // namespace emulsion::cuda
