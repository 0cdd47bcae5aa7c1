// Winograd's minimal filtering F(2x2, 3x3) for 3x3 convolutions of stride 1 (Lavin and Gray, "Fast
// algorithms for convolutional neural networks"): four neighbouring outputs take 16 products per
// pair of channels instead of 36.
//
//   y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A      d: 4x4 inputs, g: 3x3 weights, y: 2x2 outputs
//
// Summed over the channels, each of the 16 points is a product of matrices: [tiles, depth] by
// [depth, columns]. Tiles are taken in chunks, small enough that what is transformed stays in a
// core's cache until it has been used, so the 4-fold larger transformed image never reaches memory.
// The gradient of the weights is the transpose of the same map: dg = Gᵀ [Σ (A dy Aᵀ) ⊙ (Bᵀ d B)] G.
//
// F(4x4, 3x3) would save nearly as much again, but its float32 errors are several times those of a
// direct sum, while those of F(2x2) are no larger: docs/cpu-engine.md has the figures.
#pragma once

#include "cpu/conv2d_geometry.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace winograd {

constexpr int points = 16;
// Below this the transformed weights, 16/9 of the weights, cost more than the products save.
constexpr int64_t least_tiles = 64;
constexpr int64_t least_channels = 16;

// Tiles of 2x2 outputs, numbered across rows and images; tile (i, j) reads inputs from row 2i - top
// and column 2j - left on.
struct Tiles {
  int64_t images, H, W, P, Q, top, left;

  EMULSION_INLINE int64_t down() const { return (P + 1) / 2; }
  EMULSION_INLINE int64_t across() const { return (Q + 1) / 2; }
  EMULSION_INLINE int64_t count() const { return images * down() * across(); }

  struct Place {
    int64_t image, i, j;
  };
  EMULSION_INLINE Place place(int64_t tile) const {
    return {tile / (down() * across()), tile / across() % down(), tile % across()};
  }
};

// Whether the products of a geometry are worth transforming. float64 is the oracle: it sums in
// order.
template <class T>
EMULSION_INLINE bool fits(const ConvGeometry& g) {
  const int64_t tiles = g.N * ((g.P + 1) / 2) * ((g.Q + 1) / 2);
  return __is_same(T, float) && g.R == 3 && g.S == 3 && g.stride_h == 1 && g.stride_w == 1 &&
         g.dilation_h == 1 && g.dilation_w == 1 && g.group_C >= least_channels &&
         g.group_K >= least_channels && tiles >= least_tiles;
}

// A [16][tiles][values] buffer. Rows are whole vectors; rows and planes keep off multiples of the
// distances at which addresses share a set of the cache.
template <class T>
struct Planes {
  T* data = nullptr;
  int64_t row, plane;

  EMULSION_INLINE Planes(int64_t tiles, int64_t values) : row((values + 15) / 16 * 16) {
    if (row % 256 == 0) row += 16;
    plane = tiles * row + 16;
  }
  EMULSION_INLINE int64_t size() const { return points * plane; }
  EMULSION_INLINE T* at(int point, int64_t tile) const { return data + point * plane + tile * row; }
};

// Bᵀ on one axis of a 4x4 square, A on one axis of a square of which two of four are given, and
// their transposes, in place: `step` apart.
template <class V>
EMULSION_INLINE void input_axis(V* d, int step) {
  const V a = d[0] - d[2 * step], b = d[step] + d[2 * step];
  const V c = d[2 * step] - d[step], e = d[step] - d[3 * step];
  d[0] = a, d[step] = b, d[2 * step] = c, d[3 * step] = e;
}
template <class V>
EMULSION_INLINE void output_axis(V* m, int step) {
  const V middle = m[step] + m[2 * step], difference = m[step] - m[2 * step];
  m[0] += middle;
  m[step] = difference - m[3 * step];
}
template <class V>
EMULSION_INLINE void output_axis_transposed(V* y, int step) {
  const V a = y[0], b = y[step];
  y[step] = a + b, y[2 * step] = a - b, y[3 * step] = -b;
}
template <class V>
EMULSION_INLINE void filter_axis(V* g, int step) {
  const V half(0.5f), outer = (g[0] + g[2 * step]) * half, inner = g[step] * half;
  g[3 * step] = g[2 * step];
  g[step] = outer + inner, g[2 * step] = outer - inner;
}
template <class V>
EMULSION_INLINE void filter_axis_transposed(V* u, int step) {
  const V half(0.5f), sum = (u[step] + u[2 * step]) * half;
  const V difference = (u[step] - u[2 * step]) * half;
  u[0] += sum, u[step] = difference, u[2 * step] = sum + u[3 * step];
}

// Bᵀ d B of tiles [begin, end), whatever lies outside of the image being zero.
template <class T, class Stored>
void transform_inputs(const Tiles& tiles, const Stored* image, int64_t stride, int64_t depth,
                      int64_t begin, int64_t end, int64_t first, const Planes<T>& to) {
  using V = Vec<T>;
  Stored* const zeros = scratch<Stored>(7, depth + V::size);
  for (int64_t c = 0; c < depth + V::size; ++c) zeros[c] = Stored(0);
  for (int64_t tile = begin; tile < end; ++tile) {
    const auto [n, i, j] = tiles.place(tile);
    const Stored* from[points];
    for (int r = 0; r < 4; ++r)
      for (int s = 0; s < 4; ++s) {
        const int64_t h = 2 * i - tiles.top + r, w = 2 * j - tiles.left + s;
        const bool inside = static_cast<uint64_t>(h) < static_cast<uint64_t>(tiles.H) &&
                            static_cast<uint64_t>(w) < static_cast<uint64_t>(tiles.W);
        from[4 * r + s] = inside ? image + ((n * tiles.H + h) * tiles.W + w) * stride : zeros;
      }
    T* const row = to.at(0, tile - first);
    for (int64_t c = 0; c < depth; c += V::size) {
      V d[points];
#pragma GCC unroll 16
      for (int p = 0; p < points; ++p) d[p] = load_up_to<T>(from[p] + c, depth - c);
#pragma GCC unroll 4
      for (int s = 0; s < 4; ++s) input_axis(d + s, 4);
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) input_axis(d + 4 * r, 1);
#pragma GCC unroll 16
      for (int p = 0; p < points; ++p) d[p].store(row + p * to.plane + c);
    }
  }
}

// A dy Aᵀ of tiles [begin, end), outputs beyond the edge being zero.
template <class T, class Stored>
void transform_output_gradients(const Tiles& tiles, const Stored* dy, int64_t stride, int64_t K,
                                int64_t begin, int64_t end, int64_t first, const Planes<T>& to) {
  using V = Vec<T>;
  for (int64_t tile = begin; tile < end; ++tile) {
    const auto [n, i, j] = tiles.place(tile);
    const Stored* const from = dy + ((n * tiles.P + 2 * i) * tiles.Q + 2 * j) * stride;
    const bool below = 2 * i + 1 < tiles.P, beside = 2 * j + 1 < tiles.Q;
    T* const row = to.at(0, tile - first);
    for (int64_t k = 0; k < K; k += V::size) {
      const int64_t rest = K - k;
      const auto load = [&](bool there, int64_t pixel) {
        return there ? load_up_to<T>(from + pixel * stride + k, rest) : V::zero();
      };
      V e[points];
      e[0] = load(true, 0), e[1] = load(beside, 1);
      e[4] = load(below, tiles.Q), e[5] = load(below && beside, tiles.Q + 1);
      output_axis_transposed(e, 4), output_axis_transposed(e + 1, 4);
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) output_axis_transposed(e + 4 * r, 1);
#pragma GCC unroll 16
      for (int p = 0; p < points; ++p) e[p].store(row + p * to.plane + k);
    }
  }
}

// Aᵀ m A of tiles [begin, end): up to half a register tile of neighbours at a time, as rows of
// neighbouring pixels for finish(tile, pixel, rows, column, columns), the epilogue of gemm.h.
template <class T, class Finish>
void transform_outputs(const Tiles& tiles, const PanelLayout<T>& layout, int64_t panel_begin,
                       int64_t panel_end, int64_t begin, int64_t end, const Planes<T>& from,
                       Finish&& finish) {
  using V = Vec<T>;
  constexpr int columns = Tile<T>::columns, most = Tile<T>::rows / 2;
  alignas(64) T rows[2][Tile<T>::size];
  for (int64_t tile = begin; tile < end;) {
    const auto [n, i, j] = tiles.place(tile);
    int64_t count = tiles.across() - j;
    if (count > most) count = most;
    if (count > end - tile) count = end - tile;
    const int64_t pixel = (n * tiles.P + 2 * i) * tiles.Q + 2 * j;
    const int64_t rest = tiles.Q - 2 * j;
    const int pixels = static_cast<int>(2 * count < rest ? 2 * count : rest);
    for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
      const int64_t column = (panel - panel_begin) * columns;
      for (int64_t t = 0; t < count; ++t)
        for (int v = 0; v < layout.vectors(panel) * V::size; v += V::size) {
          const T* const m = from.at(0, tile - begin + t) + column + v;
          V square[points];
#pragma GCC unroll 16
          for (int p = 0; p < points; ++p) square[p] = V::load(m + p * from.plane);
#pragma GCC unroll 4
          for (int s = 0; s < 4; ++s) output_axis(square + s, 4);
          output_axis(square, 1), output_axis(square + 4, 1);
          for (int r = 0; r < 2; ++r)
            for (int s = 0; s < 2; ++s)
              square[4 * r + s].store(rows[r] + (2 * t + s) * columns + v);
        }
      const int64_t at = panel * columns;
      finish(rows[0], pixel, pixels, at, layout.valid(panel));
      if (2 * i + 1 < tiles.P) finish(rows[1], pixel + tiles.Q, pixels, at, layout.valid(panel));
    }
    tile += count;
  }
}

// The convolution of an image [N, H, W, stride] with transformed weights: one packed B of gemm.h
// per point, `filter_plane` apart.
template <class T, class Stored, class Finish>
void convolve(const Tiles& tiles, const Stored* image, int64_t stride, const PanelLayout<T>& layout,
              const T* filters, int64_t filter_plane, Finish&& finish) {
  constexpr int64_t chunk_bytes = 1 << 20;
  const int64_t panels = layout.count(), threads = num_threads(), total = tiles.count();
  const int64_t tile_bytes =
      points * (layout.depth + layout.columns) * static_cast<int64_t>(sizeof(T));
  int64_t length = chunk_bytes / tile_bytes;
  const int64_t least = 3 * Tile<T>::rows, most = 16 * Tile<T>::rows;
  length = length < least ? least : length > most ? most : length;
  // All threads end together; where there are few tiles they share their columns.
  int64_t chunks = (total + length - 1) / length;
  if (chunks < 8 * threads && chunks > threads / 2)
    chunks = (chunks + threads - 1) / threads * threads;
  int64_t shares = (threads + chunks - 1) / chunks;
  if (shares > panels) shares = panels;

  parallel_tasks(chunks * shares, [&](int64_t task) {
    const int64_t chunk = task / shares, share = task % shares;
    const int64_t begin = total * chunk / chunks, end = total * (chunk + 1) / chunks;
    const int64_t panel_begin = panels * share / shares, panel_end = panels * (share + 1) / shares;
    Planes<T> inputs(end - begin, layout.depth);
    inputs.data = scratch<T>(3, inputs.size());
    transform_inputs(tiles, image, stride, layout.depth, begin, end, begin, inputs);
    Planes<T> outputs(end - begin, (panel_end - panel_begin) * Tile<T>::columns);
    outputs.data = scratch<T>(4, outputs.size());
    for (int point = 0; point < points; ++point)
      multiply_part<T>(
          MatrixRows<T, T>(inputs.at(point, 0), inputs.row, false, layout.depth), layout,
          filters + point * filter_plane, Part{0, end - begin, panel_begin, panel_end},
          [&](const T* tile, int64_t row, int count, int64_t column, int columns) {
            T* const to = outputs.at(point, row) + column - panel_begin * Tile<T>::columns;
            for (int i = 0; i < count; ++i)
              for (int j = 0; j < columns; j += Vec<T>::size)
                Vec<T>::load(tile + i * Tile<T>::columns + j).store(to + i * outputs.row + j);
          });
    transform_outputs(tiles, layout, panel_begin, panel_end, begin, end, outputs, finish);
  });
}

// G g Gᵀ of a vector of filters: tap(r, s) gives their values at one tap.
template <class V, class Tap>
EMULSION_INLINE void transform_filters(V (&u)[points], Tap&& tap) {
#pragma GCC unroll 3
  for (int r = 0; r < 3; ++r)
#pragma GCC unroll 3
    for (int s = 0; s < 3; ++s) u[4 * r + s] = tap(r, s);
#pragma GCC unroll 3
  for (int s = 0; s < 3; ++s) filter_axis(u + s, 4);
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) filter_axis(u + 4 * r, 1);
}

// Weights [K][3][3][C] as B [C, K]: the vectors run along C and are transposed block by block.
template <class T, class Stored>
const T* pack_filters(const PanelLayout<T>& layout, const Stored* weight, int64_t filter_plane) {
  using V = Vec<T>;
  constexpr int64_t block = 64;
  const int64_t C = layout.depth;
  T* const to = scratch<T>(0, points * filter_plane);
  parallel_for(layout.count(), 1, [&](int64_t begin, int64_t end) {
    T* const block_values = scratch<T>(3, points * Tile<T>::columns * block);
    for (int64_t panel = begin; panel < end; ++panel) {
      const int count = layout.valid(panel), width = layout.vectors(panel) * V::size;
      for (int64_t first = 0; first < C; first += block) {
        const int64_t length = C - first < block ? C - first : block;
        for (int k = 0; k < count; ++k) {
          const Stored* const from = weight + (panel * Tile<T>::columns + k) * 9 * C + first;
          for (int64_t c = 0; c < length; c += V::size) {
            V u[points];
            transform_filters(
                u, [&](int r, int s) __attribute__((always_inline)) {
                  return load_up_to<T>(from + (3 * r + s) * C + c, length - c);
                });
#pragma GCC unroll 16
            for (int p = 0; p < points; ++p)
              u[p].store(block_values + (p * Tile<T>::columns + k) * block + c);
          }
        }
        for (int p = 0; p < points; ++p) {
          const T* rows[Tile<T>::columns];
          for (int k = 0; k < count; ++k)
            rows[k] = block_values + (p * Tile<T>::columns + k) * block;
          pack_transposed(rows, count, length,
                          to + p * filter_plane + layout.offset(panel) + first * width, width);
        }
      }
    }
  });
  return to;
}

// Weights [K][3][3][C], turned by 180 degrees, as B [K, C]: what the input's gradient convolves
// with. `stride` is the distance of filters.
template <class T, class Stored>
const T* pack_turned_filters(const PanelLayout<T>& layout, const Stored* weight,
                             int64_t filter_plane) {
  using V = Vec<T>;
  const int64_t C = layout.columns;
  T* const to = scratch<T>(0, points * filter_plane);
  parallel_for(layout.count(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      const int count = layout.valid(panel), width = layout.vectors(panel) * V::size;
      T* const row = to + layout.offset(panel);
      for (int64_t k = 0; k < layout.depth; ++k) {
        const Stored* const from = weight + k * 9 * C + panel * Tile<T>::columns;
        for (int v = 0; v < width; v += V::size) {
          V u[points];
          transform_filters(
              u, [&](int r, int s) __attribute__((always_inline)) {
                return load_up_to<T>(from + (3 * (2 - r) + 2 - s) * C + v, count - v);
              });
#pragma GCC unroll 16
          for (int p = 0; p < points; ++p) u[p].store(row + p * filter_plane + k * width + v);
        }
      }
    }
  });
  return to;
}

}  // namespace winograd
}  // namespace emulsion::cpu::EMULSION_LEVEL
