// The gradient of 3x3 filters by the transforms of winograd.h: a product [K, tiles] by [tiles, C]
// per point, in three ways.
//
//   many tiles   chunks that stay in the last cache: all threads transform a chunk, then each takes
//                points (and parts of K), so that no two add to one sum
//   small sums   the tiles, if they are many, are split, and each split has sums of its own; few
//                threads share filters or channels. Nothing but sums passes from core to core,
//                which is slow where they share no cache
//   few tiles    all products of a register tile follow each other and are transformed back in L1:
//                memory sees the filters alone, not their points
//
// The order of each sum depends on shapes alone.
#pragma once

#include "cpu/gemm_chains.h"
#include "cpu/winograd.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace winograd {

// Gᵀ m G of register tiles of filters [k_begin, k_end) and one panel of channels, `plane` apart and
// summed over `splits`, `apart` values apart.
template <class F, class T, class Stored>
EMULSION_INLINE void finish_sums(const T* sums, int64_t plane, int64_t splits, int64_t apart,
                                 int64_t k_begin, int64_t k_end, int64_t panel, int64_t C,
                                 Stored* dweight) {
  using V = Vec<T>;
  constexpr int points = F::points, columns = F::Columns::points;
  const int64_t first = panel * Tile<T>::columns;
  const int64_t width = C - first < Tile<T>::columns ? C - first : Tile<T>::columns;
  for (int64_t k = k_begin; k < k_end; ++k)
    for (int64_t c = 0; c < width; c += V::size) {
      const T* const from = sums + (k - k_begin) * Tile<T>::columns + c;
#pragma GCC unroll 9
      for (int tap = 0; tap < 9; ++tap)
        __builtin_prefetch(dweight + ((k + filters_ahead) * 9 + tap) * C + first + c, 1, 2);
      V u[points];
#pragma GCC unroll 36
      for (int p = 0; p < points; ++p) u[p] = V::load(from + p * plane);
      for (int64_t split = 1; split < splits; ++split)
#pragma GCC unroll 36
        for (int p = 0; p < points; ++p) u[p] += V::load(from + split * apart + p * plane);
#pragma GCC unroll 6
      for (int s = 0; s < columns; ++s) F::Rows::filter_transposed(u + s, columns);
#pragma GCC unroll 3
      for (int r = 0; r < 3; ++r) F::Columns::filter_transposed(u + columns * r, 1);
#pragma GCC unroll 3
      for (int r = 0; r < 3; ++r)
#pragma GCC unroll 3
        for (int s = 0; s < 3; ++s)
          store_up_to(u[columns * r + s], dweight + ((k * 3 + r) * 3 + s) * C + first + c,
                      width - c);
    }
}

// Register tiles of one point's sums: [height][panel].
template <class T>
EMULSION_INLINE int64_t sums_of_a_point(int64_t K, int64_t C) {
  return (K + ChainTile<T>::rows - 1) / ChainTile<T>::rows * PanelLayout<T>{0, C}.count() *
         ChainTile<T>::size;
}

// The filters' gradients from [split][point][height][panel] register tiles, `plane` values a point.
template <class F, class T, class Stored>
void finish_filters(const T* sums, int64_t plane, int64_t splits, int64_t K, int64_t C,
                    Stored* dweight) {
  const int64_t heights = (K + ChainTile<T>::rows - 1) / ChainTile<T>::rows;
  const int64_t panels = PanelLayout<T>{0, C}.count();
  parallel_for(heights, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t panel = 0; panel < panels; ++panel)
        finish_sums<F>(sums + (t * panels + panel) * ChainTile<T>::size, plane, splits,
                       F::points * plane, K * t / heights, K * (t + 1) / heights, panel, C,
                       dweight);
  });
}

// What PyTorch's errors grow with, who adds up row after row: some 1.7e-8 · √this.
EMULSION_INLINE int64_t roughness(const Extent& extent) {
  return extent.images * extent.P + 2 * extent.Q;
}

// How many tiles are added one after the other: as many as leave the errors below PyTorch's.
EMULSION_INLINE int64_t gradient_chain(const Extent& extent) {
  return roughness(extent) < 192 ? 16 : 32;
}

// Heights of filters and panels of channels.
struct Range {
  int64_t height, height_end, panel, panel_end;
};

// Adds the products of a block at one point to a range of its sums, in chains.
template <class T, class HeightRow>
EMULSION_INLINE void multiply_block(const T* inputs, int64_t inputs_row, const T* gradients,
                                    int64_t gradients_row, int64_t steps, int64_t chain,
                                    const PanelLayout<T>& columns, const Range& range,
                                    HeightRow&& height_row, T* sums, bool accumulate) {
  constexpr int64_t apart = 1 + ChainTile<T>::size / deep_block;
  const int64_t panels = columns.count(), count = range.height_end - range.height;
  const auto sum = [&](int64_t height, int64_t panel) {
    return sums + (height * panels + panel) * ChainTile<T>::size;
  };
  const int64_t first = height_row(range.height), end = height_row(range.height_end);
  const bool packs = range.panel_end - range.panel >= panels_that_pay;
  T* const slices = scratch<T>(2, packs ? (end - first) * steps + Tile<T>::columns : 0);
  const auto slice = [&](int64_t height) { return slices + (height_row(height) - first) * steps; };
  for (int64_t t = range.height; packs && t < range.height_end; ++t) {
    const int rows = static_cast<int>(height_row(t + 1) - height_row(t));
    pack_straight(gradients + height_row(t), gradients_row, rows, steps, slice(t), rows);
  }
  const bool copies = count >= tiles_that_pay;
  T* const copy = scratch<T>(1, deep_block * Tile<T>::columns);
  for (int64_t panel = range.panel; panel < range.panel_end; ++panel) {
    const int vectors = columns.vectors(panel), width = vectors * Vec<T>::size;
    const T* const there = inputs + panel * Tile<T>::columns;
    if (copies) pack_straight(there, inputs_row, width, steps, copy, width);
    const int64_t pitch = copies ? width : inputs_row;
    Chains<T> chains;
    chains.cut(steps, chain, [&](int64_t start, int64_t length, Run<T>* to) {
      *to = {0, length, (copies ? copy : there) + start * pitch};
      return 1;
    });
    for (int64_t t = range.height; t < range.height_end; ++t) {
      // What the next products read and add to comes from the last cache or the other cores'.
      const bool more = panel + 1 < range.panel_end;
      const T* const ahead = t + 1 < range.height_end ? sum(t + 1, panel)
                             : more                   ? sum(range.height, panel + 1)
                                                      : sum(t, panel);
      const int64_t index = t - range.height;
      if (more)
        for (int64_t i = steps * index / count; i < steps * (index + 1) / count; ++i)
          prefetch_run(inputs + i * inputs_row + (panel + 1) * Tile<T>::columns,
                       columns.valid(panel + 1));
      const int rows = static_cast<int>(height_row(t + 1) - height_row(t));
      T* const tile = sum(t, panel);
      multiply_chained(chains, rows, vectors, pitch, 0,
                       packs ? slice(t) : gradients + height_row(t), packs ? rows : gradients_row,
                       {ahead, apart}, tile, in_tile(tile, accumulate));
    }
  }
}

template <class F, class T, class Stored>
void weight_gradient_many(const ConvGeometry& g, const Stored* dy, const Stored* x,
                          Stored* dweight) {
  constexpr int points = F::points;
  constexpr int64_t chunk_bytes = 4 << 20;
  const int64_t K = g.group_K, C = g.group_C;
  const Tiles<F> tiles(extent_of(g));
  const int64_t total = tiles.count(), chain = gradient_chain(tiles);
  // Chunks are whole blocks, and blocks alike: each walks over all sums, however short it is.
  const int64_t blocks = (total + deep_block - 1) / deep_block;
  const auto block_tile = [&](int64_t block) { return total * block / blocks; };
  int64_t together =
      chunk_bytes / (points * (K + C) * static_cast<int64_t>(sizeof(T)) * deep_block);
  together = together < 1 ? 1 : together > 8 ? 8 : together;
  const int64_t chunks = (blocks + together - 1) / together;
  const int64_t length = (total + blocks - 1) / blocks * ((blocks + chunks - 1) / chunks);
  Planes<F, T> inputs(length, C), gradients(length, K);
  inputs.data = scratch<T>(3, inputs.size());
  gradients.data = scratch<T>(4, gradients.size());

  const PanelLayout<T> columns{0, C};
  const int64_t heights = (K + ChainTile<T>::rows - 1) / ChainTile<T>::rows;
  const auto height_row = [&](int64_t height) { return K * height / heights; };
  const int64_t plane = sums_of_a_point<T>(K, C);
  T* const sums = scratch<T>(5, points * plane);
  int64_t shares = (2 * num_threads() + points - 1) / points;
  if (shares > heights) shares = heights;

  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t block_begin = blocks * chunk / chunks;
    const int64_t block_end = blocks * (chunk + 1) / chunks;
    const int64_t first = block_tile(block_begin), count = block_tile(block_end) - first;
    parallel_for(count, 1 + 4096 / (K + C), [&](int64_t begin, int64_t end) {
      transform_inputs(tiles, x, g.C, C, first + begin, first + end, first, inputs);
      transform_output_gradients(tiles, dy, g.K, K, first + begin, first + end, first, gradients);
    });
    parallel_tasks(points * shares, [&](int64_t task) {
      const int point = static_cast<int>(task % points);
      const int64_t share = task / points;
      const int64_t height_begin = heights * share / shares;
      const int64_t height_end = heights * (share + 1) / shares;
      for (int64_t block = block_begin; block < block_end; ++block) {
        const int64_t at = block_tile(block) - first;
        const int64_t steps = block_tile(block + 1) - block_tile(block);
        multiply_block(inputs.at(point, at), inputs.row, gradients.at(point, at), gradients.row,
                       steps, chain, columns, {height_begin, height_end, 0, columns.count()},
                       height_row, sums + point * plane, block > 0);
      }
    });
  }

  finish_filters<F>(sums, plane, 1, K, C, dweight);
}

// Into how many splits tiles go, each of at least a block; 0 where their sums would be large.
template <class F, class T>
EMULSION_INLINE int64_t splits_of(int64_t tiles, int64_t K, int64_t C) {
  constexpr int64_t most = 8, most_sums = 1 << 20;
  const int64_t fit = most_sums / (F::points * sums_of_a_point<T>(K, C)),
                blocks = tiles / deep_block;
  int64_t splits = most;
  while (splits > 1 && (splits > blocks || splits > fit)) splits /= 2;
  return splits <= fit ? splits : 0;
}

// Where splits are too few for the threads, these share the larger of filters and channels, and
// each transforms all of the smaller for itself.
template <class F, class T, class Stored>
void weight_gradient_split(const ConvGeometry& g, const Stored* dy, const Stored* x,
                           Stored* dweight) {
  constexpr int points = F::points;
  const int64_t K = g.group_K, C = g.group_C;
  const Tiles<F> tiles(extent_of(g));
  const int64_t total = tiles.count(), chain = gradient_chain(tiles);
  const int64_t blocks = (total + deep_block - 1) / deep_block;
  const int64_t longest = (total + blocks - 1) / blocks;
  const auto block_tile = [&](int64_t block) { return total * block / blocks; };
  const PanelLayout<T> columns{0, C};
  const int64_t heights = (K + ChainTile<T>::rows - 1) / ChainTile<T>::rows;
  const auto height_row = [&](int64_t height) { return K * height / heights; };
  const int64_t plane = sums_of_a_point<T>(K, C), apart = points * plane;
  const int64_t splits = splits_of<F, T>(total, K, C);
  T* const sums = scratch<T>(5, splits * apart);
  const int64_t panels = columns.count(), most_shares = C > K ? panels : heights;
  int64_t shares = 1;
  while (splits * shares % num_threads() != 0 && splits * shares < 4 * num_threads()) ++shares;
  if (shares > most_shares) shares = most_shares;

  parallel_tasks(splits * shares, [&](int64_t task) {
    const int64_t split = task / shares, share = task % shares;
    Range range{0, heights, 0, panels};
    if (C > K)
      range.panel = panels * share / shares, range.panel_end = panels * (share + 1) / shares;
    else
      range.height = heights * share / shares, range.height_end = heights * (share + 1) / shares;
    const int64_t k = height_row(range.height), outputs = height_row(range.height_end) - k;
    const int64_t c = range.panel * Tile<T>::columns, c_end = range.panel_end * Tile<T>::columns;
    const int64_t channels = (c_end < C ? c_end : C) - c;
    Planes<F, T> inputs(longest, channels), gradients(longest, outputs);
    inputs.data = scratch<T>(3, inputs.size());
    gradients.data = scratch<T>(4, gradients.size());
    const int64_t block_begin = blocks * split / splits;
    for (int64_t block = block_begin; block < blocks * (split + 1) / splits; ++block) {
      const int64_t first = block_tile(block), end = block_tile(block + 1);
      transform_inputs(tiles, x + c, g.C, channels, first, end, first, inputs);
      transform_output_gradients(tiles, dy + k, g.K, outputs, first, end, first, gradients);
      for (int point = 0; point < points; ++point)
        multiply_block(inputs.at(point, 0) - c, inputs.row, gradients.at(point, 0) - k,
                       gradients.row, end - first, chain, columns, range, height_row,
                       sums + split * apart + point * plane, block > block_begin);
    }
  });

  finish_filters<F>(sums, plane, splits, K, C, dweight);
}

template <class F, class T, class Stored>
void weight_gradient_few(const ConvGeometry& g, const Stored* dy, const Stored* x,
                         Stored* dweight) {
  constexpr int points = F::points, columns = Tile<T>::columns;
  const int64_t K = g.group_K, C = g.group_C;
  const Tiles<F> tiles(extent_of(g));
  const int64_t total = tiles.count(), chain = gradient_chain(tiles);
  const int64_t heights = (K + ChainTile<T>::rows - 1) / ChainTile<T>::rows;
  const auto height_row = [&](int64_t height) { return K * height / heights; };
  // The gradients as [height][point] slices.
  const int64_t slice = total * ChainTile<T>::rows + Tile<T>::columns;
  const auto slice_heights = [&](int64_t begin, int64_t end, T* to) {
    const int64_t first = height_row(begin), count = height_row(end) - first;
    Planes<F, T> gradients(total, count);
    gradients.data = scratch<T>(4, gradients.size());
    transform_output_gradients(tiles, dy + first, g.K, count, 0, total, 0, gradients);
    for (int64_t t = begin; t < end; ++t)
      for (int point = 0; point < points; ++point) {
        const int rows = static_cast<int>(height_row(t + 1) - height_row(t));
        pack_straight(gradients.at(point, 0) + height_row(t) - first, gradients.row, rows, total,
                      to + (t * points + point) * slice, rows);
      }
  };
  // A gradient's transform costs as much as its products with some six channels.
  const Ingredient<T> slices(0, heights * points * slice, heights, 1, C >= 64 * num_threads(),
                             slice_heights);

  const PanelLayout<T> layout{total, C};
  const auto multiply_panel = [&](int64_t panel, int64_t height, int64_t height_end,
                                  const T* gradients) {
    // One panel's channels: rows of the planes are rows of a packed panel.
    Planes<F, T> inputs = Planes<F, T>::panels(total, 1);
    inputs.row = layout.vectors(panel) * Vec<T>::size;
    inputs.data = scratch<T>(3, inputs.size());
    transform_inputs(tiles, x + panel * columns, g.C, layout.valid(panel), 0, total, 0, inputs);
    T* const sums = scratch<T>(2, points * ChainTile<T>::size);
    Chains<T> chains;
    for (int64_t t = height; t < height_end; ++t) {
      const int rows = static_cast<int>(height_row(t + 1) - height_row(t));
      for (int point = 0; point < points; ++point) {
        // Memory has brought the gradients' lines by the time they are written.
        for (int64_t i = 9 * rows * point / points; i < 9 * rows * (point + 1) / points; ++i)
          prefetch_run<for_writing>(dweight + (height_row(t) * 9 + i) * C + panel * columns,
                                    layout.valid(panel));
        chains.cut(total, chain, [&](int64_t first, int64_t length, Run<T>* to) {
          *to = {0, length, inputs.at(point, first)};
          return 1;
        });
        T* const tile = sums + point * ChainTile<T>::size;
        const T* const from = gradients + (t * points + point) * slice;
        multiply_chained(chains, rows, layout.vectors(panel), inputs.row, 0, from, rows, {}, tile,
                         in_tile(tile, false));
      }
      finish_sums<F>(sums, ChainTile<T>::size, 1, 0, height_row(t), height_row(t + 1), panel, C,
                     dweight);
    }
  };
  parallel_whole_tasks(layout.count(), heights, slices, multiply_panel);
}

template <class F, class T, class Stored>
void weight_gradient_as(const ConvGeometry& g, const Stored* dy, const Stored* x, Stored* dweight) {
  constexpr int64_t most = 2048 / F::points;  // what the products read has to stay in L2
  const int64_t tiles = Tiles<F>(extent_of(g)).count();
  if (tiles <= most && few_tiles(tiles, g.group_C, g.group_K))
    return weight_gradient_few<F, T>(g, dy, x, dweight);
  const int64_t splits = splits_of<F, T>(tiles, g.group_K, g.group_C);
  // What each thread transforms again costs as much as its products with some six channels.
  const bool repeatable = (g.group_C > g.group_K ? g.group_C : g.group_K) >= 64 * num_threads();
  if (splits > 1 || (splits == 1 && tiles <= 4 * deep_block && repeatable))
    return weight_gradient_split<F, T>(g, dy, x, dweight);
  weight_gradient_many<F, T>(g, dy, x, dweight);
}

// Whether a form is no less exact than PyTorch's direct sums; of few pixels none is.
template <class T>
EMULSION_INLINE bool fits_gradient(const ConvGeometry& g) {
  return fits<T>(g, weights_for_gradient) && roughness(extent_of(g)) >= 80;
}

// dweight [K][3][3][C] of images [N, H, W, g.C] and their gradients [N, P, Q, g.K]. The more
// pixels, the larger the form that is no less exact than PyTorch's direct sums: docs/cpu-engine.md.
template <class T, class Stored>
void weight_gradient(const ConvGeometry& g, const Stored* dy, const Stored* x, Stored* dweight) {
  if (roughness(extent_of(g)) < 128) return weight_gradient_as<Form<1, 2>, T>(g, dy, x, dweight);
  const int64_t pixels = g.N * g.P * g.Q;
  with_form(extent_of(g), pixels >= 1 << 15, pixels >= 1 << 16,
            [&]<class F>() { weight_gradient_as<F, T>(g, dy, x, dweight); });
}

}  // namespace winograd
}  // namespace emulsion::cpu::EMULSION_LEVEL
