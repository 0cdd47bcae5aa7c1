// Nearest codes on the CPU: a small product whose results never leave the registers. Codes are
// packed into panels of two vectors, [D][2 lanes] each, with half their squared lengths in front; a
// tile of rows holds its scores against one panel in accumulators and folds them at once into the
// best so far. A lane keeps the best of the codes that it has seen and the panel it lay in; only at
// the end do lanes meet. Codes beyond the second-level cache are taken in chunks.
#include "ops/nearest_codes.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "cpu/caches.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

// Accumulators of a tile: two thirds of the registers.
constexpr int tile_rows = vector_bytes == 64 ? 10 : 5;

template <class A>
constexpr int panel_codes = 2 * Vec<A>::size;

// Of the panels: half squared lengths, then the codes, transposed. Codes that fill up the last
// panel are infinitely far.
template <class A>
int64_t panel_values(int64_t dim) {
  return (dim + 1) * panel_codes<A>;
}

template <class A, class T>
void pack_panel(const T* codes, int64_t count, int64_t dim, A* panel) {
  for (int lane = 0; lane < panel_codes<A>; ++lane) {
    A length = 0;
    for (int64_t d = 0; d < dim; ++d) {
      const A value = lane < count ? convert<A>(codes[lane * dim + d]) : A(0);
      panel[(d + 1) * panel_codes<A> + lane] = value;
      length += value * value;
    }
    panel[lane] = lane < count ? length / 2 : std::numeric_limits<A>::infinity();
  }
}

// The best codes of one row by lane.
template <class A>
struct Best {
  using Index = typename Vec<A>::Mask;
  Vec<A> score;
  Index vector;  // number of the code vector: twice its panel, and one for the second half
};

// Scores of `rows` vectors, negated and transposed in z [dim][tile_rows], against a panel.
template <int rows, class A>
EMULSION_INLINE void score_panel(const A* z, const A* panel, int64_t dim, int64_t number,
                                 Best<A>* best) {
  using V = Vec<A>;
  V scores[rows][2];
  for (int r = 0; r < rows; ++r) {
    scores[r][0] = V::load(panel);
    scores[r][1] = V::load(panel + V::size);
  }
  for (int64_t d = 0; d < dim; ++d) {
    const A* column = panel + (d + 1) * panel_codes<A>;
    const V low = V::load(column), high = V::load(column + V::size);
    for (int r = 0; r < rows; ++r) {
      const V value(z[d * tile_rows + r]);
      scores[r][0] = fma(value, low, scores[r][0]);
      scores[r][1] = fma(value, high, scores[r][1]);
    }
  }
  using Index = typename V::Mask;
  const Index first =
      static_cast<std::conditional_t<sizeof(A) == 4, int32_t, int64_t>>(2 * number) - Index{};
  for (int r = 0; r < rows; ++r) {
    Best<A>& own = best[r];
    const Index in_low = scores[r][0] < own.score;
    own.score = select(in_low, scores[r][0], own.score);
    own.vector = in_low ? first : own.vector;
    const Index in_high = scores[r][1] < own.score;
    own.score = select(in_high, scores[r][1], own.score);
    own.vector = in_high ? first + 1 : own.vector;
  }
}

template <class A>
EMULSION_INLINE int64_t nearest_of(const Best<A>& best) {
  A score = std::numeric_limits<A>::infinity();
  int64_t index = 0;
  for (int lane = 0; lane < Vec<A>::size; ++lane) {
    const int64_t own = int64_t{best.vector[lane]} * Vec<A>::size + lane;
    if (best.score[lane] < score || (best.score[lane] == score && own < index)) {
      score = best.score[lane];
      index = own;
    }
  }
  return index;
}

template <class T>
void search(const View& vectors, const View& codes, View& indices) {
  using A = Accumulator<T>;
  const int64_t rows = vectors.dim(0), dim = vectors.dim(1), count = codes.dim(0);
  const int64_t panels = (count + panel_codes<A> - 1) / panel_codes<A>;
  const int64_t panel_size = panel_values<A>(dim);
  A* packed = scratch<A>(0, panels * panel_size);
  parallel_for(panels, 16384 / panel_size + 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p)
      pack_panel(codes.as<T>() + p * panel_codes<A> * dim, count - p * panel_codes<A>, dim,
                 packed + p * panel_size);
  });

  const int64_t tiles = (rows + tile_rows - 1) / tile_rows;
  const int64_t chunk =
      std::max<int64_t>(1, caches().core / 4 / (panel_size * static_cast<int64_t>(sizeof(A))));
  const int64_t tile_values = dim * tile_rows;
  // Rows whose vectors and best codes stay in cache while a chunk of codes passes by.
  constexpr int64_t group = 16;
  parallel_for(tiles, 200'000 / (panels * panel_size) + 1, [&](int64_t begin, int64_t end) {
    A* z = scratch<A>(1, group * tile_values);
    Best<A>* best = scratch<Best<A>>(2, group * tile_rows);
    for (int64_t first = begin; first < end; first += group) {
      const int64_t first_row = first * tile_rows;
      const int64_t own_rows =
          std::min((std::min(end, first + group) - first) * tile_rows, rows - first_row);
      const int64_t own_tiles = (own_rows + tile_rows - 1) / tile_rows;
      for (int64_t r = 0; r < own_tiles * tile_rows; ++r) {
        best[r].score = Vec<A>(std::numeric_limits<A>::infinity());
        best[r].vector = typename Vec<A>::Mask{};
        const T* from = vectors.as<T>() + (first_row + r) * dim;
        A* to = z + r / tile_rows * tile_values + r % tile_rows;
        for (int64_t d = 0; d < dim; ++d)
          to[d * tile_rows] = r < own_rows ? -convert<A>(from[d]) : A(0);
      }
      for (int64_t panel = 0; panel < panels; panel += chunk)
        for (int64_t t = 0; t < own_tiles; ++t)
          for (int64_t p = panel; p < std::min(panels, panel + chunk); ++p)
            score_panel<tile_rows>(z + t * tile_values, packed + p * panel_size, dim, p,
                                   best + t * tile_rows);
      for (int64_t r = 0; r < own_rows; ++r)
        indices.as<int64_t>()[first_row + r] = nearest_of(best[r]);
    }
  });
}

}  // namespace

void nearest_codes(const View& vectors, const View& codes, View& indices) {
  check_nearest_codes(vectors, codes, indices);
  if (vectors.dim(0) == 0) return;
  dispatch_floating(vectors.dtype, "nearest_codes",
                    [&]<class T>() { search<T>(vectors, codes, indices); });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
