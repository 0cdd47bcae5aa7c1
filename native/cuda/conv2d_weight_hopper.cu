// The gradient of 16-bit filters on Hopper: an implicit product for gemm_hopper.cuh.
//
// Rows are filters, columns (tap, channel), the depth is the pixels of dy in tiles of 64. Both
// operands lie with the depth outside, and wgmma takes them so: a box of 64 pixels by 64 channels
// is a piece of either. Each 64 columns have a tap of their own, so that each of their boxes is
// moved as it wants; the channels of a tap are rounded up to 64. Pixels outside of dy add zeros,
// times what x has there: an infinite x makes NaN of more taps than it reaches.
//
// 2·K·R·S·C·pixels operations on tiles of 128 x 256, 85 per byte of the second-level cache; few
// results and a long depth, so that most shapes are split.
#include "cuda/columns.cuh"
#include "cuda/conv2d_gather.cuh"
#include "cuda/conv2d_hopper.cuh"

namespace emulsion::cuda {

constexpr int step_pixels = 64;

// The operands of hopper_kernel, not in an unnamed namespace, where nvcc warns of members that no
// kernel of another architecture uses: dy by (filter, pixel), ...
struct BulkGradient {
  static constexpr gemm::Lines lines = gemm::Lines::wide;
  TensorMap map;
  PixelTiles tiles;

  __device__ __forceinline__ bool half(int) const { return false; }

  template <int extent>
  __device__ __forceinline__ void load(unsigned char* tile, uint64_t* full, int row, int k,
                                       int) const {
    int n, y, x;
    tiles(k / step_pixels, n, y, x);
#pragma unroll
    for (int i = 0; i < extent; i += bulk_channels)
      bulk_load(tile + i * 2 * step_pixels, map, full, {row + i, x, y, n});
  }
};

// ... and x by (tap and channel, pixel).
struct BulkColumns {
  static constexpr gemm::Lines lines = gemm::Lines::wide;
  TensorMap map;
  PixelTiles tiles;
  Divisor of_blocks, of_row;  // by the blocks of channels, by the taps of a row
  int first_h, first_w, tap_h, tap_w;

  template <int extent>
  __device__ __forceinline__ void load(unsigned char* tile, uint64_t* full, int row, int k,
                                       int) const {
    int n, y, x;
    tiles(k / step_pixels, n, y, x);
#pragma unroll
    for (int i = 0; i < extent; i += bulk_channels) {
      uint32_t block, j;
      const uint32_t tap = of_blocks(static_cast<uint32_t>(row + i) / bulk_channels, block);
      const uint32_t line = of_row(tap, j);
      bulk_load(tile + i * 2 * step_pixels, map, full,
                {static_cast<int>(block) * bulk_channels, first_w + x + static_cast<int>(j) * tap_w,
                 first_h + y + static_cast<int>(line) * tap_h, n});
    }
  }
};

namespace {

// Columns whose taps have channels that do not exist.
template <class T>
struct TapEpilogue {
  using Filters = StoreRows<T, 8>;
  static constexpr int width = Filters::width;

  Filters filters;
  Divisor of_tap;
  int channels;

  __device__ __forceinline__ int64_t row(int batch, int row) const {
    return filters.row(batch, row);
  }
  __device__ __forceinline__ typename Filters::Columns columns(int batch, int column, int) const {
    uint32_t channel;
    const auto tap = static_cast<int>(of_tap(static_cast<uint32_t>(column), channel));
    return filters.columns(batch, tap * channels + static_cast<int>(channel),
                           channels - static_cast<int>(channel));
  }
  __device__ __forceinline__ typename Filters::Nothing load(
      int64_t row, const typename Filters::Columns& at) const {
    return filters.load(row, at);
  }
  __device__ __forceinline__ void store(int64_t row, const typename Filters::Columns& at,
                                        typename Filters::Nothing nothing,
                                        const float (&v)[width]) const {
    filters.store(row, at, nothing, v);
  }
};

// The tiles by which these kernels gain on the portable ones, if they do. The least extents and the
// rates, multiply-adds per clock of a multiprocessor, are estimates.
std::optional<gemm::Choice> choose_tiles(const PixelWalk& walk, const gemm::Problem& padded) {
  constexpr gemm::Candidate candidates[] = {
      {128, 256, 1700.0, 1.0}, {128, 192, 1610.0, 1.0}, {128, 128, 1450.0, 1.3}};
  if (walk.filters <= 64 || walk.channels <= 16) return {};  // mostly zeros
  const gemm::Problem exact{walk.filters, int64_t{walk.taps()} * walk.channels, walk.pixels()};
  return gemm::choose_gain(padded, exact, candidates, step_pixels);
}

}  // namespace

template <class T>
bool run_hopper_weight(const char* op, const T* dy, const T* x, const PixelWalk& walk, T* dweight) {
  if (!bulk_images(walk) || walk.filters % 8 != 0 || !vectors(dy, x)) return false;
  const PixelTiles tiles = pixel_tiles(walk, 6);
  const int64_t blocks = ceil_div(walk.channels, bulk_channels);
  const gemm::Problem problem{walk.filters, walk.taps() * blocks * bulk_channels,
                              tiles.count() * step_pixels};
  const std::optional<gemm::Choice> choice = choose_tiles(walk, problem);
  if (!choice) return false;
  const PixelBox box{1 << tiles.log_w, 1 << tiles.log_h, tiles.images};
  const BulkGradient gradient{
      image_map(op, dy, walk.N, walk.grid_h, walk.grid_w, walk.filters, box), tiles};
  const BulkColumns columns{image_map(op, x, walk.N, walk.in_h, walk.in_w, walk.channels, box),
                            tiles,
                            Divisor(blocks),
                            Divisor(walk.taps_w),
                            walk.first_h,
                            walk.first_w,
                            walk.tap_h,
                            walk.tap_w};
  const TapEpilogue<T> epilogue{
      {dweight, walk.filters, walk.taps() * walk.channels, vectors(dweight)},
      Divisor(blocks * bulk_channels),
      walk.channels};
  const auto with = [&]<class Tiles>() {
    gemm::run_hopper<T, Tiles>(op, gradient, columns, epilogue, problem, choice->splits);
  };
  switch (choice->tiles) {
    case 0: with.template operator()<gemm::Hopper256>(); break;
    case 1: with.template operator()<gemm::HopperTiles<192, 5, 1>>(); break;
    default: with.template operator()<gemm::Hopper128>(); break;
  }
  return true;
}

template bool run_hopper_weight<bfloat16>(const char*, const bfloat16*, const bfloat16*,
                                          const PixelWalk&, bfloat16*);
template bool run_hopper_weight<float16>(const char*, const float16*, const float16*,
                                         const PixelWalk&, float16*);

}  // namespace emulsion::cuda
