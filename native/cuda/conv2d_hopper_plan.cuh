// The choice between the convolutions of Hopper, from tiles with a border (conv2d_halo_hopper.cu)
// or tap by tap (conv2d_hopper.cu): both compute 128 pixels by some filters, with the same widths,
// so that estimated time decides.
//
// Tiles with a border ask less of the second-level cache, but their sides are 8 pixels at least:
// small images and odd ones are padded more.
#pragma once

#include "cuda/conv2d_hopper.cuh"
#include "cuda/gemm_hopper.cuh"

namespace emulsion::cuda {

constexpr int log_tile_pixels = 7, tile_pixels = 1 << log_tile_pixels;
constexpr int log_halo_strip = 3;      // a group of 8 rows of an operand: neighbours of one line
constexpr int most_halo_pixels = 256;  // what the buffers of a tile with its border hold

struct HopperChoice {
  PixelTiles tiles;
  int columns, splits;
  double clocks;
};

// Calls run<Tiles>() with tiles of so many filters, of blocks that stay; wide ones come 64 at a
// time.
template <gemm::Lines lines, class Run>
void with_staying_tiles(int columns, const Run& run) {
  if constexpr (lines == gemm::Lines::deep) {
    if (columns == 224) return run.template operator()<gemm::HopperTiles<224, 4, 1>>();
    if (columns == 160) return run.template operator()<gemm::HopperTiles<160, 5, 1>>();
  }
  if (columns == 192) return run.template operator()<gemm::HopperTiles<192, 5, 1>>();
  run.template operator()<gemm::Hopper256>();
}

// Of tiles that gain on the portable kernels, if they do. Those have narrower tiles for few
// filters, and waste none of their channels; here a step costs half of its 64 at least.
template <size_t count>
std::optional<HopperChoice> choose_tiles(const PixelWalk& walk, const PixelTiles& tiles,
                                         const gemm::Candidate (&candidates)[count], int tile_depth,
                                         int least_steps) {
  constexpr int least_filters = 65;  // an estimate
  if (tiles.count() == 0 || walk.filters < least_filters) return {};
  if (!walk.deep() && walk.filters % 8 != 0) return {};
  const int64_t channels = ceil_div(walk.channels, 32) * 32;
  const gemm::Problem padded{tiles.count() * tile_pixels, walk.filters, walk.taps() * channels},
      exact{walk.pixels(), walk.filters, int64_t{walk.taps()} * walk.channels};
  const auto product = gemm::choose_gain(padded, exact, candidates, tile_depth, least_steps);
  if (!product) return {};
  return HopperChoice{tiles, candidates[product->tiles].columns, product->splits, product->clocks};
}

// Rates are multiply-adds per clock of a multiprocessor, estimates.
inline std::optional<HopperChoice> choose_taps(const PixelWalk& walk) {
  constexpr gemm::Candidate deep[] = {{128, 256, 1700.0, 1.0},
                                      {128, 224, 1660.0, 1.0},
                                      {128, 192, 1610.0, 1.0},
                                      {128, 160, 1540.0, 1.0},
                                      {128, 128, 1450.0, 1.3}},
                            wide[] = {deep[0], deep[2], deep[4]};
  const PixelTiles tiles = pixel_tiles(walk, log_tile_pixels);
  return walk.deep() ? choose_tiles(walk, tiles, deep, bulk_channels, 4)
                     : choose_tiles(walk, tiles, wide, bulk_channels, 4);
}

// Only where it gains on single taps too, and not for 128 filters: two blocks on a multiprocessor
// took nearly twice as long as tap by tap on an H100. A split takes whole blocks of channels with
// all taps, which have half of their channels at least.
inline std::optional<HopperChoice> choose_halo(const PixelWalk& walk) {
  constexpr gemm::Candidate deep[] = {{128, 256, 1780.0, 1.0},
                                      {128, 224, 1740.0, 1.0},
                                      {128, 192, 1700.0, 1.0},
                                      {128, 160, 1640.0, 1.0}},
                            wide[] = {deep[0], deep[2]};
  if (walk.tap_h != 1 || walk.tap_w != 1) return {};
  const PixelTiles tiles = pixel_tiles(walk, log_tile_pixels, log_halo_strip, most_halo_pixels);
  const int half_block = walk.taps() * bulk_channels / 2,
            least_halves = std::max(2, static_cast<int>(ceil_div(8, walk.taps())));
  const auto choice = walk.deep() ? choose_tiles(walk, tiles, deep, half_block, least_halves)
                                  : choose_tiles(walk, tiles, wide, half_block, least_halves);
  if (!choice) return {};
  const auto taps = choose_taps(walk);
  if (taps && taps->clocks < choice->clocks) return {};
  return choice;
}

}  // namespace emulsion::cuda
