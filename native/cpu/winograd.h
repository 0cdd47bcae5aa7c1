// Winograd's minimal filtering for 3x3 convolutions of stride 1 (Lavin and Gray, "Fast algorithms
// for convolutional neural networks"): a tile of neighbouring outputs takes one product per point
// of its transform instead of nine per output.
//
//   y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A      d: inputs of a tile, g: 3x3 weights, y: outputs
//
// Summed over the channels, each point is a product of matrices: [tiles, depth] by [depth,
// columns]. What is transformed, several times the image and the filters, is made so close to its
// use that the larger of the two never reaches memory: winograd_convolve.h and winograd_weight.h.
// The gradient of the weights is the transpose of the same map: dg = Gᵀ [Σ (A dy Aᵀ) ⊙ (Bᵀ d B)] G.
#pragma once

#include "cpu/conv2d_geometry.h"
#include "cpu/winograd_axis.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace winograd {

// Whether filters outweigh the image, so that each of them is best transformed where it is used.
EMULSION_INLINE bool few_tiles(int64_t tiles, int64_t C, int64_t K) {
  return C * K >= (1 << 14) && (C * K >= 256 * tiles || C * K >= 3 << 15);
}

// Into how many shares each of so many pieces goes, so that all threads have as many; `most` at
// most.
EMULSION_INLINE int64_t shares_of(int64_t pieces, int64_t most) {
  const int64_t threads = num_threads();
  int64_t shares = 1;
  while (shares < most && pieces * shares % threads != 0 && pieces * shares < 4 * threads) ++shares;
  return shares;
}

// Images, outputs of one and where the first of them reads: `top` rows above, `left` columns
// before.
struct Extent {
  int64_t images, H, W, P, Q, top, left;
};
EMULSION_INLINE Extent extent_of(const ConvGeometry& g) {
  return {g.N, g.H, g.W, g.P, g.Q, g.top, g.left};
}

// Tiles of a form's outputs, numbered across rows and images; tile (i, j) reads inputs from row
// tall · i - top and column wide · j - left on.
template <class F>
struct Tiles : Extent {
  static constexpr int tall = F::Rows::outputs, wide = F::Columns::outputs;

  EMULSION_INLINE explicit Tiles(const Extent& extent) : Extent(extent) {}
  EMULSION_INLINE int64_t down() const { return (P + tall - 1) / tall; }
  EMULSION_INLINE int64_t across() const { return (Q + wide - 1) / wide; }
  EMULSION_INLINE int64_t count() const { return images * down() * across(); }

  // Of all points, what a pair of channels costs.
  EMULSION_INLINE int64_t products() const { return count() * F::points; }

  struct Place {
    int64_t image, i, j;
  };
  EMULSION_INLINE Place place(int64_t tile) const {
    return {tile / (down() * across()), tile / across() % down(), tile % across()};
  }
  EMULSION_INLINE void advance(Place& place) const {
    if (++place.j < across()) return;
    place.j = 0;
    if (++place.i < down()) return;
    place.i = 0;
    ++place.image;
  }

  // Asks for a line of each pixel of a tile, whose image is `width` wide.
  template <class Stored>
  EMULSION_INLINE void prefetch(const Stored* pixel, int64_t width, int64_t stride) const {
#pragma GCC unroll 4
    for (int r = 0; r < tall; ++r)
#pragma GCC unroll 4
      for (int s = 0; s < wide; ++s) __builtin_prefetch(pixel + (r * width + s) * stride, 0, 2);
  }
};

// Calls `use` with the largest form that is allowed and takes fewer products than the next smaller.
template <class Use>
void with_form(const Extent& extent, bool allow_wide, bool allow_large, Use&& use) {
  using Small = Form<2, 2>;
  using Wide = Form<2, 4>;
  using Large = Form<4, 4>;
  const int64_t wide = Tiles<Wide>(extent).products();
  if (allow_large && Tiles<Large>(extent).products() < wide)
    use.template operator()<Large>();
  else if (allow_wide && wide < Tiles<Small>(extent).products())
    use.template operator()<Wide>();
  else
    use.template operator()<Small>();
}

// Whether a geometry is worth transforming. Of few pixels, less than 64 tiles of 2x2, it is only
// where there are so many pairs of channels for a tile: fewer for a convolution than for the
// filters' gradient. float64 is the oracle: it sums in order.
constexpr int64_t weights_to_convolve = 256, weights_for_gradient = 1024;
template <class T>
EMULSION_INLINE bool fits(const ConvGeometry& g, int64_t least_weights) {
  constexpr int64_t least_channels = 16, least_tiles = 16, enough_tiles = 64;
  const int64_t tiles = Tiles<Form<2, 2>>(extent_of(g)).count();
  return __is_same(T, float) && g.R == 3 && g.S == 3 && g.stride_h == 1 && g.stride_w == 1 &&
         g.dilation_h == 1 && g.dilation_w == 1 && g.group_C >= least_channels &&
         g.group_K >= least_channels && tiles >= least_tiles &&
         (tiles >= enough_tiles || g.group_C * g.group_K >= least_weights * tiles);
}

// A [points][tiles][values] buffer. Rows are whole vectors; rows and planes keep off multiples of
// the distances at which addresses share a set of the cache.
template <class F, class T>
struct Planes {
  T* data = nullptr;
  int64_t row, plane, panel = Tile<T>::columns;  // distances

  EMULSION_INLINE Planes(int64_t tiles, int64_t values) : row((values + 15) / 16 * 16) {
    if (row % 256 == 0) row += 16;
    plane = tiles * row + 16;
  }
  // [points][panels][tiles][columns]: rows of a panel follow each other, as in a register tile.
  EMULSION_INLINE static Planes panels(int64_t tiles, int64_t count) {
    Planes planes(tiles * count, Tile<T>::columns);
    planes.row = Tile<T>::columns;
    planes.panel = tiles * Tile<T>::columns;
    return planes;
  }
  EMULSION_INLINE int64_t size() const { return F::points * plane; }
  EMULSION_INLINE T* at(int point, int64_t tile) const { return data + point * plane + tile * row; }
};

// A tile's pixels lie in several rows of an image, which no processor looks ahead for: they are
// asked for so many tiles before. A prefetch may name what lies beyond the last tile.
constexpr int64_t tiles_ahead = 4;

// The same of filters, of whose taps a few channels are read at a time; gradients are written so.
constexpr int64_t filters_ahead = 8;

// Bᵀ d B of tiles [begin, end), whatever lies outside of the image being zero.
template <class F, class T, class Stored>
void transform_inputs(const Tiles<F>& tiles, const Stored* image, int64_t stride, int64_t depth,
                      int64_t begin, int64_t end, int64_t first, const Planes<F, T>& to) {
  using V = Vec<T>;
  constexpr int points = F::points, rows = F::Rows::points, columns = F::Columns::points;
  Stored* const zeros = scratch<Stored>(7, depth + V::size);
  for (int64_t c = 0; c < depth + V::size; ++c) zeros[c] = Stored(0);
  const auto pixel_at = [&](int64_t n, int64_t h, int64_t w) {
    return image + ((n * tiles.H + h) * tiles.W + w) * stride;
  };
  auto place = tiles.place(begin), later = tiles.place(begin + tiles_ahead);
  for (int64_t tile = begin; tile < end; ++tile, tiles.advance(place), tiles.advance(later)) {
    T* const row = to.at(0, tile - first);
    const Stored* const soon = pixel_at(later.image, tiles.tall * later.i, tiles.wide * later.j);
    const auto transform = [&](auto&& pixel) __attribute__((always_inline)) {
      for (int64_t c = 0; c < depth; c += V::size) {
        tiles.prefetch(soon + c, tiles.W, stride);
        V d[points];
#pragma GCC unroll 36
        for (int p = 0; p < points; ++p)
          d[p] = load_up_to<T>(pixel(p / columns, p % columns) + c, depth - c);
#pragma GCC unroll 6
        for (int s = 0; s < columns; ++s) F::Rows::input(d + s, columns);
#pragma GCC unroll 6
        for (int r = 0; r < rows; ++r) F::Columns::input(d + columns * r, 1);
#pragma GCC unroll 36
        for (int p = 0; p < points; ++p) d[p].store(row + p * to.plane + c);
      }
    };
    const int64_t top = tiles.tall * place.i - tiles.top, left = tiles.wide * place.j - tiles.left;
    const auto at = [&](int64_t h, int64_t w) { return pixel_at(place.image, h, w); };
    if (top >= 0 && left >= 0 && top + rows <= tiles.H && left + columns <= tiles.W) {
      const Stored* from[rows];
      for (int r = 0; r < rows; ++r) from[r] = at(top + r, left);
      transform([&](int r, int s) __attribute__((always_inline)) { return from[r] + s * stride; });
    } else {
      const Stored* from[points];
      for (int p = 0; p < points; ++p) {
        const int64_t h = top + p / columns, w = left + p % columns;
        const bool inside = static_cast<uint64_t>(h) < static_cast<uint64_t>(tiles.H) &&
                            static_cast<uint64_t>(w) < static_cast<uint64_t>(tiles.W);
        from[p] = inside ? at(h, w) : zeros;
      }
      transform([&](int r, int s) __attribute__((always_inline)) { return from[columns * r + s]; });
    }
  }
}

// A dy Aᵀ of tiles [begin, end), outputs beyond the edge being zero.
template <class F, class T, class Stored>
void transform_output_gradients(const Tiles<F>& tiles, const Stored* dy, int64_t stride, int64_t K,
                                int64_t begin, int64_t end, int64_t first, const Planes<F, T>& to) {
  using V = Vec<T>;
  constexpr int points = F::points, rows = F::Rows::points, columns = F::Columns::points;
  constexpr int tall = F::Rows::outputs, wide = F::Columns::outputs;
  const auto pixel_at = [&](int64_t n, int64_t i, int64_t j) {
    return dy + ((n * tiles.P + tall * i) * tiles.Q + wide * j) * stride;
  };
  auto place = tiles.place(begin), later = tiles.place(begin + tiles_ahead);
  for (int64_t tile = begin; tile < end; ++tile, tiles.advance(place), tiles.advance(later)) {
    const auto [n, i, j] = place;
    const Stored* const from = pixel_at(n, i, j);
    const Stored* const soon = pixel_at(later.image, later.i, later.j);
    const int64_t below = tiles.P - tall * i, beside = tiles.Q - wide * j;
    T* const row = to.at(0, tile - first);
    for (int64_t k = 0; k < K; k += V::size) {
      tiles.prefetch(soon + k, tiles.Q, stride);
      V e[points];
#pragma GCC unroll 4
      for (int r = 0; r < tall; ++r)
#pragma GCC unroll 4
        for (int s = 0; s < wide; ++s)
          e[columns * r + s] = r < below && s < beside
                                   ? load_up_to<T>(from + (r * tiles.Q + s) * stride + k, K - k)
                                   : V::zero();
#pragma GCC unroll 4
      for (int s = 0; s < wide; ++s) F::Rows::output_transposed(e + s, columns);
#pragma GCC unroll 6
      for (int r = 0; r < rows; ++r) F::Columns::output_transposed(e + columns * r, 1);
#pragma GCC unroll 36
      for (int p = 0; p < points; ++p) e[p].store(row + p * to.plane + k);
    }
  }
}

// Aᵀ m A of tiles [begin, end): as many neighbours at a time as a register tile has rows for, as
// rows of neighbouring pixels for finish(tile, pixel, rows, column, columns), the epilogue of
// gemm.h. Two rows before that it calls expect(pixel, column) for every vector.
template <class F, class T, class Finish, class Expect>
void transform_outputs(const Tiles<F>& tiles, const PanelLayout<T>& layout, int64_t panel_begin,
                       int64_t panel_end, int64_t begin, int64_t end, const Planes<F, T>& from,
                       Finish&& finish, Expect&& expect) {
  using V = Vec<T>;
  constexpr int points = F::points, columns = F::Columns::points;
  constexpr int tall = F::Rows::outputs, wide = F::Columns::outputs;
  constexpr int panel_columns = Tile<T>::columns, most = Tile<T>::rows / wide;
  alignas(64) T rows[tall][Tile<T>::size];
  for (int64_t tile = begin; tile < end;) {
    const auto [n, i, j] = tiles.place(tile);
    int64_t count = tiles.across() - j;
    if (count > most) count = most;
    if (count > end - tile) count = end - tile;
    const int64_t pixel = (n * tiles.P + tall * i) * tiles.Q + wide * j;
    const int64_t rest = tiles.Q - wide * j, below = tiles.P - tall * i;
    const int pixels = static_cast<int>(wide * count < rest ? wide * count : rest);
    const auto later = tiles.place(tile + 2 * count);
    const int64_t expected = (later.image * tiles.P + tall * later.i) * tiles.Q + wide * later.j;
    for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
      const T* const sums = from.at(0, tile - begin) + (panel - panel_begin) * from.panel;
      for (int64_t t = 0; t < count; ++t)
        for (int v = 0; v < layout.vectors(panel) * V::size; v += V::size) {
#pragma GCC unroll 4
          for (int r = 0; r < tall; ++r)
#pragma GCC unroll 4
            for (int s = 0; s < wide; ++s)
              expect(expected + r * tiles.Q + wide * t + s, panel * panel_columns + v);
          const T* const m = sums + t * from.row + v;
          V square[points];
#pragma GCC unroll 36
          for (int p = 0; p < points; ++p) square[p] = V::load(m + p * from.plane);
#pragma GCC unroll 6
          for (int s = 0; s < columns; ++s) F::Rows::output(square + s, columns);
#pragma GCC unroll 4
          for (int r = 0; r < tall; ++r) F::Columns::output(square + columns * r, 1);
#pragma GCC unroll 4
          for (int r = 0; r < tall; ++r)
#pragma GCC unroll 4
            for (int s = 0; s < wide; ++s)
              square[columns * r + s].store(rows[r] + (wide * t + s) * panel_columns + v);
        }
      const int64_t at = panel * panel_columns;
      for (int r = 0; r < tall && r < below; ++r)
        finish(rows[r], pixel + r * tiles.Q, pixels, at, layout.valid(panel));
    }
    tile += count;
  }
}

// G g Gᵀ of a vector of filters: tap(r, s) gives their values at one tap.
template <class F, class V, class Tap>
EMULSION_INLINE void transform_filters(V* u, Tap&& tap) {
  constexpr int rows = F::Rows::points, columns = F::Columns::points;
#pragma GCC unroll 3
  for (int r = 0; r < 3; ++r)
#pragma GCC unroll 3
    for (int s = 0; s < 3; ++s) u[columns * r + s] = tap(r, s);
#pragma GCC unroll 3
  for (int s = 0; s < 3; ++s) F::Rows::filter(u + s, columns);
#pragma GCC unroll 6
  for (int r = 0; r < rows; ++r) F::Columns::filter(u + columns * r, 1);
}

// Weights [K][3][3][C] as B [C, K]. transform() gives steps [first, first + length) of a panel as
// [length][width] values per point, `plane` apart. Uses scratch slot 3.
template <class T, class Stored>
struct Filters {
  const Stored* weight;

  template <class F>
  void transform(const PanelLayout<T>& layout, int64_t panel, int64_t first, int64_t length, T* to,
                 int64_t plane) const {
    using V = Vec<T>;
    constexpr int points = F::points;
    // Nine taps are cheaper to transpose than all points.
    constexpr int64_t block = 32;
    const int count = layout.valid(panel), width = layout.vectors(panel) * V::size;
    T* const values = scratch<T>(3, 9 * block * Tile<T>::columns + V::size);
    for (int64_t at = 0; at < length; at += block) {
      const int64_t steps = length - at < block ? length - at : block;
      // What is read next: these filters' next channels, or the next filters.
      const bool more = first + at + block < layout.depth;
      const Stored* const next =
          more ? row(layout, panel, 0, 0) + first + at + block : row(layout, panel + 1, 0, 0);
      for (int tap = 0; tap < 9; ++tap) {
        for (int k = 0; k < count; ++k) prefetch_run(next + (k * 9 + tap) * layout.depth, block);
        const Stored* rows[Tile<T>::columns];
        for (int k = 0; k < count; ++k) rows[k] = row(layout, panel, k, tap) + first + at;
        pack_transposed(rows, count, steps, values + tap * block * width, width);
      }
      for (int64_t i = 0; i < steps * width; i += V::size) {
        V u[points];
        transform_filters<F>(
            u, [&](int r, int s) __attribute__((always_inline)) {
              return V::load(values + (3 * r + s) * block * width + i);
            });
#pragma GCC unroll 36
        for (int p = 0; p < points; ++p) u[p].store(to + p * plane + at * width + i);
      }
    }
  }

  // Asks for a part of what transform() will read, the `index`-th of `parts`.
  EMULSION_INLINE void prefetch(const PanelLayout<T>& layout, int64_t panel, int64_t first,
                                int64_t length, int64_t index, int64_t parts) const {
    const int64_t rows = layout.valid(panel) * 9;
    for (int64_t i = rows * index / parts; i < rows * (index + 1) / parts; ++i)
      prefetch_run(row(layout, panel, i / 9, i % 9) + first, length);
  }

 private:
  EMULSION_INLINE const Stored* row(const PanelLayout<T>& layout, int64_t panel, int64_t k,
                                    int64_t tap) const {
    return weight + ((panel * Tile<T>::columns + k) * 9 + tap) * layout.depth;
  }
};

// Weights [K][3][3][C], turned by 180 degrees, as B [K, C]: what the input's gradient convolves
// with.
template <class T, class Stored>
struct TurnedFilters {
  const Stored* weight;

  template <class F>
  void transform(const PanelLayout<T>& layout, int64_t panel, int64_t first, int64_t length, T* to,
                 int64_t plane) const {
    using V = Vec<T>;
    constexpr int points = F::points;
    const int64_t C = layout.columns;
    const int count = layout.valid(panel), width = layout.vectors(panel) * V::size;
    for (int64_t k = 0; k < length; ++k) {
      const Stored* const from = row(layout, panel, first + k);
      const Stored* const next = row(layout, panel, first + k + filters_ahead);
      for (int tap = 0; tap < 9; ++tap) prefetch_run(next + tap * C, count);
      for (int v = 0; v < width; v += V::size) {
        V u[points];
        transform_filters<F>(
            u, [&](int r, int s) __attribute__((always_inline)) {
              return load_up_to<T>(from + (3 * (2 - r) + 2 - s) * C + v, count - v);
            });
#pragma GCC unroll 36
        for (int p = 0; p < points; ++p) u[p].store(to + p * plane + k * width + v);
      }
    }
  }

  EMULSION_INLINE void prefetch(const PanelLayout<T>& layout, int64_t panel, int64_t first,
                                int64_t length, int64_t index, int64_t parts) const {
    for (int64_t i = length * index / parts; i < length * (index + 1) / parts; ++i)
      for (int64_t tap = 0; tap < 9; ++tap)
        prefetch_run(row(layout, panel, first + i) + tap * layout.columns, layout.valid(panel));
  }

 private:
  // Step k of a panel; beyond the last one those of the next panel.
  EMULSION_INLINE const Stored* row(const PanelLayout<T>& layout, int64_t panel, int64_t k) const {
    if (k >= layout.depth) k -= layout.depth, ++panel;
    return weight + k * 9 * layout.columns + panel * Tile<T>::columns;
  }
};

}  // namespace winograd
}  // namespace emulsion::cpu::EMULSION_LEVEL
