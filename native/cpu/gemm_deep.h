// Products with a long reduction and a small result: the gradient of the weights of a convolution
// or a linear layer, C [rows, columns] = Aᵀ · B with A [depth, rows] and B [depth, columns], both
// stored along the reduction as neither of gemm.h's operands is. In blocks of 128 steps one panel
// of B at a time is multiplied with all of A. Few panels read A where it lies, each step 14
// neighbours; for many, and of 16-bit floats, it is packed in slices of 14 columns first. A panel
// of whole vectors is named by runs of equally distant rows (in a convolution the pixels of an
// image row, padding left out), read where they lie or, for many tiles, copied; other panels (few
// or odd columns, 16-bit floats) are gathered (16 KiB, L1). Sums stay in tiles, 1.8 KiB each,
// between blocks; whole ones leave the last block for C.
//
// Tasks are groups of panels; where these are few the reduction is split as well, into a number of
// parts that depends on the shapes alone, and the parts are added in order: the result does not
// depend on the number of threads.
//
// Share of the FMA peak, f32, both threads of a 2-core Zen 5 VM (459 GFLOP/s): 3x3 convolutions
// with 64 channels at 16x16 69 %, 96 at 8x8 77 %, 256 at 16x16 75 %. Linear layers, 2048 rows: 96
// to 96 46 %, 96 to 768 59 %. One thread of a Zen 4 VM (118 GFLOP/s), 512x512: 3 to 128 channels 67
// %, 128 to 3 57 %.
#pragma once

#include "cpu/gemm.h"
#include "cpu/gemm_chains.h"

namespace emulsion::cpu::EMULSION_LEVEL {

// The gradient of so large a matrix of weights goes past the caches: it is read when those of all
// other layers are there.
constexpr int64_t bytes_past_caches = 8 << 20;

// Columns of B are those of `lines` lines, each `length` long and a place of its own in memory: the
// taps of a convolution. Panels of wide lines start anew at each line, so that they copy whole
// vectors; narrow lines are run together.
template <class T>
struct ColumnPanels {
  int64_t lines, length;

  struct Range {
    int64_t begin, count;
  };
  EMULSION_INLINE bool per_line() const { return length >= Vec<T>::size; }
  EMULSION_INLINE int64_t stretch() const { return per_line() ? length : lines * length; }
  EMULSION_INLINE int64_t per_stretch() const {
    return (stretch() + Tile<T>::columns - 1) / Tile<T>::columns;
  }
  EMULSION_INLINE int64_t count() const { return per_stretch() * (per_line() ? lines : 1); }
  EMULSION_INLINE Range range(int64_t panel) const {
    const int64_t start = panel % per_stretch() * Tile<T>::columns, rest = stretch() - start;
    return {panel / per_stretch() * stretch() + start,
            rest < Tile<T>::columns ? rest : Tile<T>::columns};
  }
};

// A source of B. `runs` names what steps first, first + 1, ... read of a line, `pitch` their
// distance; `walk` fills to[i] with pointers to one column. `MatrixColumns` is a plain matrix of
// one line; a convolution has its own (conv2d_geometry.h).
template <class T, class Stored>
struct MatrixColumns {
  using Element = Stored;
  const Stored* data;
  int64_t ld;

  EMULSION_INLINE int64_t pitch() const { return ld; }
  EMULSION_INLINE int64_t runs(int64_t first, int64_t count, int64_t, Run<Stored>* to) const {
    to[0] = {0, count, data + first * ld};
    return 1;
  }
  EMULSION_INLINE void walk(int64_t first, int64_t count, int64_t, int64_t column,
                            const Stored** to) const {
    for (int64_t i = 0; i < count; ++i) to[i] = data + (first + i) * ld + column;
  }
};

// panel[p][..] = columns begin, begin + 1, ... of steps first, first + 1, ...
template <class T, class Source>
void gather_panel(const Source& b, int64_t length, int64_t first, int64_t steps, int64_t begin,
                  int64_t count, int width, T* panel) {
  using Stored = typename Source::Element;
  const Stored* rows[deep_block];
  for (int64_t done = 0; done < count;) {
    const int64_t line = (begin + done) / length, column = (begin + done) % length;
    const int64_t run = length - column < count - done ? length - column : count - done;
    b.walk(first, steps, line, column, rows);
    const bool last = done + run == count;
    for (int64_t p = 0; p < steps; ++p) {
      const Stored* const from = rows[p];
      T* const to = panel + p * width + done;
      // Zeros beyond a run give way to the next one, and stay at the end of the panel's row.
      const int64_t until = last ? width - done : run;
      for (int64_t i = 0; i < until; i += Vec<T>::size)
        store_up_to(load_up_to<T>(from + i, run - i), to + i, width - done - i);
    }
    done += run;
  }
}

// Writes one panel's column of tiles to c, summed over `splits` copies `apart` values apart.
template <class T, class Stored, class TileRow>
void store_panel(const ColumnPanels<T>& columns, int64_t panel, int64_t tiles, TileRow&& tile_row,
                 int64_t tile_size, const T* sums, int64_t splits, int64_t apart, Stored* c) {
  const int64_t row_length = columns.lines * columns.length;
  const auto [column, count] = columns.range(panel);
  for (int64_t t = 0; t < tiles; ++t)
    for (int64_t k = tile_row(t); k < tile_row(t + 1); ++k)
      for (int64_t i = 0; i < count; i += Vec<T>::size) {
        const T* const from = sums + t * tile_size + (k - tile_row(t)) * Tile<T>::columns + i;
        Vec<T> total = Vec<T>::load(from);
        for (int64_t split = 1; split < splits; ++split)
          total += Vec<T>::load(from + split * apart);
        store_up_to(total, c + k * row_length + column + i, count - i);
      }
}

// Of B's columns so few are gathered, while A is read where it lies.
constexpr int64_t few_columns = 32;

// The product with its roles exchanged, for few columns and many rows: the gradient of the filters
// that read a picture. Packing A for one panel would cost more than multiplying.
template <class T, class Source>
void multiply_deep_turned(int64_t rows, int64_t depth, const T* a, int64_t lda, const Source& b,
                          const ColumnPanels<T>& columns, T* c) {
  using V = Vec<T>;
  constexpr int64_t splits_wanted = 24;
  const int64_t few = columns.lines * columns.length;
  const int64_t width = (few + V::size - 1) / V::size * V::size;
  const int64_t tiles = (few + Tile<T>::rows - 1) / Tile<T>::rows;
  const auto tile_row = [&](int64_t tile) { return few * tile / tiles; };
  const PanelLayout<T> layout{depth, rows};
  const int64_t most_splits = 1 + depth / (4 * deep_block);
  const int64_t splits = splits_wanted < most_splits ? splits_wanted : most_splits;
  const int64_t apart = layout.count() * tiles * Tile<T>::size;  // sums of a split
  T* const sums = scratch<T>(0, splits * apart);

  parallel_tasks(splits, [&](int64_t split) {
    const int64_t begin = depth * split / splits, end = depth * (split + 1) / splits;
    T* const gathered = scratch<T>(1, deep_block * width);
    for (int64_t at = begin; at < end; at += deep_block) {
      const int64_t steps = end - at < deep_block ? end - at : deep_block;
      gather_panel(b, columns.length, at, steps, 0, few, static_cast<int>(width), gathered);
      const Run<T> run{0, steps, a + at * lda};
      for (int64_t j = 0; j < layout.count(); ++j)
        for (int64_t t = 0; t < tiles; ++t) {
          // The same columns of the next block, a line of each row at a time.
          const bool asks = t * cache_line<T> < layout.valid(j) && at + steps < end;
          const Ahead<T> ahead =
              asks ? Ahead<T>{run.b + steps * lda + j * Tile<T>::columns + t * cache_line<T>, lda}
                   : Ahead<T>{};
          runs_kernel<T>(static_cast<int>(tile_row(t + 1) - tile_row(t)), layout.vectors(j),
                         ahead.asks())(
              &run, 1, lda, j * Tile<T>::columns, gathered + tile_row(t), width, ahead,
              in_tile(sums + split * apart + (j * tiles + t) * Tile<T>::size, at > begin));
        }
    }
  });

  parallel_for(layout.count(), 1 + 16384 / (few * Tile<T>::columns * splits),
               [&](int64_t first, int64_t last) {
                 for (int64_t j = first; j < last; ++j)
                   for (int64_t i = 0; i < few; ++i) {
                     const int64_t t = ((i + 1) * tiles - 1) / few;
                     for (int64_t k = 0; k < layout.valid(j); k += V::size) {
                       const T* const from = sums + (j * tiles + t) * Tile<T>::size +
                                             (i - tile_row(t)) * Tile<T>::columns + k;
                       V total = V::load(from);
                       for (int64_t split = 1; split < splits; ++split)
                         total += V::load(from + split * apart);
                       for (int lane = 0; lane < V::size; ++lane)
                         c[(j * Tile<T>::columns + k + lane) * few + i] = total[lane];
                     }
                   }
               });
}

// c [rows][columns of B], dense. No more than `chain` products are added one after the other: at
// most a block of them. Runs on the whole pool; uses scratch slots 0 to 2 and 4.
template <class T, class Source>
void multiply_deep(int64_t rows, int64_t depth, const typename Source::Element* a, int64_t lda,
                   const Source& b, const ColumnPanels<T>& columns, typename Source::Element* c,
                   int64_t chain = deep_block) {
  using Stored = typename Source::Element;
  if constexpr (__is_same(Stored, T)) {
    if (columns.lines * columns.length <= few_columns && rows >= 2 * few_columns &&
        rows % Vec<T>::size == 0)
      return multiply_deep_turned<T>(rows, depth, a, lda, b, columns, c);
  }
  const int64_t panels = columns.count();
  const bool chained = chain < deep_block / 2;
  const int64_t block = chained ? deep_block : chain;
  const int64_t tile_rows = chained ? ChainTile<T>::rows : Tile<T>::rows;
  const int64_t tile_size = tile_rows * Tile<T>::columns;
  const int64_t tiles = (rows + tile_rows - 1) / tile_rows;
  const auto tile_row = [&](int64_t tile) { return rows * tile / tiles; };
  const bool b_in_place =
      __is_same(Stored, T) && columns.per_line() && columns.length % Vec<T>::size == 0;
  const bool copies = tiles >= tiles_that_pay;

  constexpr int64_t tasks_wanted = 24;
  const int64_t most_splits = 1 + depth / (4 * deep_block);
  // Few rows share what they read of a long B: all panels of a task pass over it together. Of many
  // panels a task has more, which share what it packs of A.
  int64_t panels_per_task = panels / 16;
  if (panels_per_task < 6) panels_per_task = 6;
  if (panels_per_task > 18) panels_per_task = 18;
  if (most_splits >= tasks_wanted && tiles < 6) panels_per_task = 36 / tiles;
  int64_t groups = (panels + panels_per_task - 1) / panels_per_task;
  const int64_t splits_wanted = (tasks_wanted + groups - 1) / groups;
  const int64_t splits = splits_wanted < most_splits ? splits_wanted : most_splits;
  while (splits * groups % num_threads() != 0 && groups < panels) ++groups;  // all end together
  // [split][panel][tile]; a reduction in one piece needs no copy of its own.
  T* const sums = splits > 1 ? scratch<T>(0, splits * panels * tiles * tile_size) : nullptr;
  const int64_t row_length = columns.lines * columns.length;
  const bool past = row_length % Vec<T>::size == 0 &&
                    rows * row_length * static_cast<int64_t>(sizeof(T)) >= bytes_past_caches;

  parallel_tasks(splits * groups, [&](int64_t task) {
    const int64_t split = task / groups, part = task % groups;
    const int64_t panel_begin = panels * part / groups, panel_end = panels * (part + 1) / groups;
    const int64_t begin = depth * split / splits, end = depth * (split + 1) / splits;
    const bool a_in_place = __is_same(Stored, T) && panel_end - panel_begin < panels_that_pay;
    T* const panel = scratch<T>(1, deep_block * Tile<T>::columns);
    T* const slices = a_in_place ? nullptr : scratch<T>(2, rows * deep_block + Tile<T>::columns);
    T* const own = sums ? sums + (split * panels + panel_begin) * tiles * tile_size
                        : scratch<T>(4, (panel_end - panel_begin) * tiles * tile_size);
    for (int64_t at = begin; at < end; at += block) {
      const int64_t steps = end - at < block ? end - at : block;
      for (int64_t t = 0; !a_in_place && t < tiles; ++t) {
        const int height = static_cast<int>(tile_row(t + 1) - tile_row(t));
        pack_straight(a + at * lda + tile_row(t), lda, height, steps, slices + tile_row(t) * steps,
                      height);
      }
      Chains<T> chains, copied;
      int64_t runs_line = -1;
      // While the first panel passes, the next columns of A; then, by as many of the last lines and
      // tiles as a panel has cache lines, the rows of B that the next block begins with.
      const auto wanted_next = [&](int64_t j, int64_t t, const T* from,
                                   int64_t offset) -> Ahead<T> {
        if (a_in_place && j == panel_begin && t + 1 < tiles)
          return {from + tile_row(t + 1) - tile_row(t), lda};
        const int64_t turn = (columns.lines - 1 - runs_line) * tiles + t;
        const Run<T>* const last = chains.last();
        if (b_in_place && last && at + steps < end && turn * cache_line<T> < Tile<T>::columns)
          return {last->b + last->length * b.pitch() + offset + turn * cache_line<T>, b.pitch()};
        return {};
      };
      for (int64_t j = panel_begin; j < panel_end; ++j) {
        const auto [column, count] = columns.range(j);
        const int vectors = count > Vec<T>::size ? 2 : 1;
        const int64_t offset = b_in_place ? column % columns.length : 0;
        int64_t ldb = vectors * Vec<T>::size;
        const Chains<T>* read = &chains;
        if constexpr (__is_same(Stored, T)) {
          if (b_in_place) {
            const int64_t line = column / columns.length;
            if (line != runs_line)
              chains.cut(steps, chain, [&](int64_t first, int64_t length, Run<T>* to) {
                return b.runs(at + first, length, line, to);
              });
            runs_line = line;
            if (copies) {
              copied.copy(chains, b.pitch(), offset, ldb, panel);
              read = &copied;
            } else {
              ldb = b.pitch();
            }
          }
        }
        if (!b_in_place) {
          gather_panel(b, columns.length, at, steps, column, count, static_cast<int>(ldb), panel);
          chains.cut(steps, chain, [&](int64_t first, int64_t length, Run<T>* to) {
            *to = {0, length, panel + first * ldb};
            return 1;
          });
        }
        const int64_t begins = read == &copied ? 0 : offset;
        for (int64_t t = 0; t < tiles; ++t) {
          const int64_t height = tile_row(t + 1) - tile_row(t);
          const T* from = slices + tile_row(t) * steps;
          if constexpr (__is_same(Stored, T))
            if (a_in_place) from = a + at * lda + tile_row(t);
          const Ahead<T> ahead = wanted_next(j, t, from, offset);
          const int64_t apart = a_in_place ? lda : height;
          T* const tile = own + ((j - panel_begin) * tiles + t) * tile_size;
          Place<T> total = in_tile(tile, at > begin);
          if constexpr (__is_same(Stored, T))
            if (!sums && at + steps == end && count == vectors * Vec<T>::size) {
              total.to = c + tile_row(t) * row_length + column;
              total.pitch = row_length;
              total.past = past && is_aligned(total.to);
              for (int64_t i = 0; !total.past && i < height; ++i)
                prefetch_run<for_writing>(total.to + i * row_length, count);
            }
          if (chained)
            multiply_chained(*read, static_cast<int>(height), vectors, ldb, begins, from, apart,
                             ahead, tile, total);
          else
            runs_kernel<T>(static_cast<int>(height), vectors, ahead.asks())(
                read->runs, read->begin[1], ldb, begins, from, apart, ahead, total);
        }
      }
    }
    if (!sums)
      for (int64_t j = panel_begin; j < panel_end; ++j) {
        if (__is_same(Stored, T) && columns.range(j).count % Vec<T>::size == 0) continue;
        store_panel(columns, j, tiles, tile_row, tile_size,
                    own + (j - panel_begin) * tiles * tile_size, 1, 0, c);
      }
  });

  if (!sums) return;
  parallel_for(panels, 1 + 4096 / (rows * Tile<T>::columns * splits),
               [&](int64_t first, int64_t last) {
                 for (int64_t j = first; j < last; ++j)
                   store_panel(columns, j, tiles, tile_row, tile_size, sums + j * tiles * tile_size,
                               splits, panels * tiles * tile_size, c);
               });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
