// Convolution of 16-bit images on Hopper, tap by tap: an implicit product for gemm_hopper.cuh, for
// taps that are apart and images that tiles with a border would pad (conv2d_halo_hopper.cu).
//
// Rows are pixels, 128 to a tile of 2^log_w x 2^log_h in some images; columns are filters; the
// depth is (64 channels, tap). What a tap reads for a tile is a box of the image, so that one bulk
// copy brings it. Filters come as boxes too, in lines of 128 bytes along the depth, or across it
// where the gradient of the input reads them as they lie, which is what the products of matrices
// have; so are the ring, the splits and the epilogue's way out. Taps go faster than channels: what
// one tap has read of the image the next ones find in the second-level cache.
//
// 128 x 256 x 64 has 85 operations per byte of that cache. Tiles of 160 to 224 filters have 71 to
// 81, but channels come in their multiples, and what is not multiplied needs no bytes. Filters as
// they lie come 64 channels of the input at a time, and so do the widths of their tiles.
//
// Any dilation, any filter, and every class of the gradient of the input: its taps are as far apart
// as the walk says, its filters turned by counting down.
#include "cuda/conv2d_hopper_plan.cuh"

namespace emulsion::cuda {

constexpr int step_channels = bulk_channels;

// The first operand of hopper_kernel: pixels by (channels, tap). Not in an unnamed namespace, where
// nvcc warns of members that no kernel of another architecture uses.
struct BulkPixels {
  static constexpr gemm::Lines lines = gemm::Lines::deep;
  TensorMap map;
  PixelTiles tiles;
  TapSteps steps;
  int first_h, first_w, tap_h, tap_w;
  int halves;  // the depth from which on steps have 32 channels at most

  __device__ __forceinline__ bool half(int k) const { return k >= halves; }

  template <int extent>
  __device__ __forceinline__ void load(unsigned char* tile, uint64_t* full, int row, int k,
                                       int) const {
    static_assert(extent == tile_pixels);
    int n, y, x, i, j, channel;
    tiles(row / tile_pixels, n, y, x);
    steps(k, i, j, channel);
    bulk_load(tile, map, full, {channel, first_w + x + j * tap_w, first_h + y + i * tap_h, n});
  }
};

namespace {

template <class T>
BulkPixels bulk_pixels(const char* op, const T* images, const PixelWalk& walk,
                       const PixelTiles& tiles) {
  const int whole = (walk.channels + step_channels / 2 - 1) / step_channels;  // steps of a tap
  return {image_map(op, images, walk.N, walk.in_h, walk.in_w, walk.channels,
                    {1 << tiles.log_w, 1 << tiles.log_h, tiles.images}),
          tiles,
          TapSteps(walk),
          walk.first_h,
          walk.first_w,
          walk.tap_h,
          walk.tap_w,
          whole * step_channels * walk.taps()};
}

template <gemm::Lines lines, class T>
void run_lines(const char* op, const T* images, const T* filters, const PixelWalk& walk,
               const ConvFinish<T>& finish, const HopperChoice& choice) {
  const PixelTiles& tiles = choice.tiles;
  const gemm::Problem problem{tiles.count() * tile_pixels, walk.filters,
                              walk.taps() * ceil_div(walk.channels, step_channels) * step_channels};
  const TileEpilogue<T, tile_pixels> epilogue(walk, tiles, finish);
  const auto run = [&]<class Tiles>() {
    gemm::run_hopper<T, Tiles>(op, bulk_pixels(op, images, walk, tiles),
                               bulk_filters<lines>(op, filters, walk, Tiles::columns), epilogue,
                               problem, choice.splits);
  };
  if (choice.columns == 128) return run.template operator()<gemm::Hopper128>();
  with_staying_tiles<lines>(choice.columns, run);
}

}  // namespace

template <class T>
bool run_hopper(const char* op, const T* images, const T* filters, const PixelWalk& walk,
                const ConvFinish<T>& finish) {
  if (!bulk_images(walk) || walk.pointwise() || !vectors(images, filters)) return false;
  const std::optional<HopperChoice> choice = choose_taps(walk);
  if (!choice) return false;
  if (walk.deep())
    run_lines<gemm::Lines::deep>(op, images, filters, walk, finish, *choice);
  else
    run_lines<gemm::Lines::wide>(op, images, filters, walk, finish, *choice);
  return true;
}

template bool run_hopper<bfloat16>(const char*, const bfloat16*, const bfloat16*, const PixelWalk&,
                                   const ConvFinish<bfloat16>&);
template bool run_hopper<float16>(const char*, const float16*, const float16*, const PixelWalk&,
                                  const ConvFinish<float16>&);

}  // namespace emulsion::cuda
