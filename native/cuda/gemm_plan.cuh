// The host's part of a matrix product: how large the tiles are and into how many parts the depth is
// split, by estimated time; the work of the launch and its scratch memory.
#pragma once

#include <optional>

#include "cuda/gemm_kernel.cuh"
#include "cuda/host.h"

namespace emulsion::cuda::gemm {

struct Problem {
  int64_t rows, columns, depth, batches = 1;
};

// Indices within a matrix are 32-bit numbers.
inline void check_extents(const char* op, const Problem& p) {
  constexpr int64_t most = (int64_t{1} << 31) - 256;
  EMULSION_CHECK(p.rows < most && p.columns < most && p.depth < most && p.batches < most, op,
                 ": a product of ", p.rows, " x ", p.depth, " x ", p.columns, ", ", p.batches,
                 " times, is too large");
}

// A choice of tiles: multiply-adds per clock that a multiprocessor does with them, and the number
// of blocks that it takes to get there: one alone may not fill it.
struct Candidate {
  int rows, columns;
  double rate, filled = 1.6;
};

struct Choice {
  size_t tiles;  // index of the candidate
  int splits;
  double clocks;
};

// Estimated clocks. Blocks on one multiprocessor share it.
inline double clocks(const Problem& p, const Candidate& tiles, int tile_depth, int splits,
                     int multiprocessors) {
  const int64_t blocks =
      ceil_div(p.rows, tiles.rows) * ceil_div(p.columns, tiles.columns) * p.batches * splits;
  const int64_t depth = ceil_div(ceil_div(p.depth, tile_depth), splits) * tile_depth;
  const double block = tiles.rows * tiles.columns * (depth / tiles.rate + 1.0 / 16);
  const double share = static_cast<double>(ceil_div(blocks, multiprocessors));
  const double moved = 8.0 * splits * p.rows * p.columns * p.batches;  // partial sums, out and in
  return block * std::max(share, tiles.filled) + (splits > 1 ? 4000 + moved / 2300 : 0);
}

// The split for a device of a nominal size, so that it is a function of the shape; then tiles,
// which change no sum, for the device at hand. A part of a split has least_steps of tile_depth.
template <size_t count>
Choice choose(const Problem& p, const Candidate (&candidates)[count], int tile_depth,
              int least_steps = 4) {
  constexpr int nominal = 132;
  constexpr int64_t most_partial = int64_t{1} << 26;
  const int64_t steps = ceil_div(p.depth, tile_depth), outputs = p.rows * p.columns * p.batches;
  Choice best{0, 1, INFINITY};
  double least = INFINITY;
  for (int splits : {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128}) {
    if (splits > 1 && (steps < least_steps * splits || outputs * splits > most_partial)) break;
    for (const Candidate& each : candidates) {
      const double time = clocks(p, each, tile_depth, splits, nominal);
      if (time < least) {
        least = time;
        best.splits = splits;
      }
    }
  }
  for (size_t i = 0; i < count; ++i) {
    const double time = clocks(p, candidates[i], tile_depth, best.splits, limits().multiprocessors);
    if (time < best.clocks) {
      best.clocks = time;
      best.tiles = i;
    }
  }
  return best;
}

// The portable kernels' tiles of 16-bit operands.
constexpr Candidate portable_tiles[] = {
    {128, 128, 1100.0}, {128, 112, 1060.0}, {128, 96, 1000.0}, {64, 64, 600.0}};
constexpr int portable_depth = 32;

// Tiles by which other kernels gain on the portable ones, if any do: they work on `padded`, the
// portable ones on `exact`.
template <size_t count>
std::optional<Choice> choose_gain(const Problem& padded, const Problem& exact,
                                  const Candidate (&candidates)[count], int tile_depth,
                                  int least_steps = 4) {
  const Choice choice = choose(padded, candidates, tile_depth, least_steps);
  if (choice.clocks >= choose(exact, portable_tiles, portable_depth).clocks) return {};
  return choice;
}

struct TileExtents {
  int rows, columns, depth;
};

// The work of a launch over tiles of rows x columns x depth, and the scratch memory that it takes.
// sums_at_once: how deep a sum may be before it is carried away; 0 for any depth.
class Division {
 public:
  Division(const char* op, const Problem& p, const TileExtents& tile, int splits,
           int padded_columns, int sums_at_once) {
    check_extents(op, p);
    const int64_t steps = ceil_div(p.depth, tile.depth),
                  per_split = std::max<int64_t>(1, ceil_div(steps, splits)),
                  parts = std::max<int64_t>(1, ceil_div(steps, per_split)),
                  row_tiles = ceil_div(p.rows, tile.rows),
                  column_tiles = ceil_div(p.columns, tile.columns);
    items = row_tiles * column_tiles * parts * p.batches;
    EMULSION_CHECK(items < int64_t{1} << 31, op, ": a product of ", p.rows, " x ", p.depth, " x ",
                   p.columns, ", ", p.batches, " times, is too large");
    const auto small = [](int64_t value) { return static_cast<int>(value); };
    work = {small(p.rows), small(p.columns), small(row_tiles), small(column_tiles),
            small(steps),  small(per_split), small(parts),     small(p.batches),
            nullptr,       nullptr};
    if (parts > 1) {
      partial_.emplace(parts * p.batches * p.rows * padded_columns * bytes);
      work.partial = partial_->as<float>();
    }
    carries_ = sums_at_once > 0 && per_split * tile.depth > sums_at_once;
    tile_ = tile;
  }

  // For the blocks that run.
  void carry(int64_t blocks) {
    if (!carries_) return;
    carried_.emplace(blocks * tile_.rows * tile_.columns * bytes);
    work.carried = carried_->as<Pack<float>>();
  }

  // After the launch.
  template <class Epilogue>
  void add(const char* op, const Epilogue& epilogue) const {
    if (work.splits == 1) return;
    launch(op, add_splits<Epilogue>,
           stream_grid(int64_t{1} * work.batches * work.rows *
                       ceil_div(work.columns, Epilogue::width)),
           static_cast<const float*>(work.partial), work.splits, work.batches, work.rows,
           work.columns, epilogue);
  }

  Work work;
  int64_t items;  // tiles x splits x batches

 private:
  static constexpr int64_t bytes = sizeof(float);
  TileExtents tile_;
  bool carries_;
  std::optional<Workspace> partial_, carried_;
};

}  // namespace emulsion::cuda::gemm
