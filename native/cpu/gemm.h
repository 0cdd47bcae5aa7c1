// Matrix products on the CPU: the loops around the micro-kernels, written once for plain matrices,
// linear layers and convolutions. C [rows, columns] = A [rows, depth] · B [depth, columns] where
//   A  is a source: it names the memory that holds a row's segment of the reduction. A matrix has
//      one segment; a convolution one per tap, so that no im2col buffer ever exists. It is read
//      where it lies, or packed by slices where that costs more than it saves (Reading).
//   B  is the weights, or the smaller operand: panels that are packed beforehand, of a few threads
//      by each for itself if they are small (Ingredient in parallel.h), or read where it lies
//      (PanelLayout).
//   C  reaches memory through an epilogue that gets finished tiles: bias, activation and the
//      conversion to 16-bit floats cost no pass of their own.
//
// Blocking, by the size of the caches (figures for the 1 MiB L2 of a Zen 4 core, f32): the
// reduction runs in blocks of some 200, so that a 14-row slice of A (11 KiB) stays in L1 while 512
// columns of B (400 KiB) pass from L2, and no chain of additions, whose rounding error grows with
// its length, is longer; the sums of a block wait in L2 as whole tiles (229 KiB, or 400). The order
// of each sum depends on `depth` alone, never on threads or on the position of the element.
//
// Share of the FMA peak, f32, of a 2-core Zen 4 VM (236 GFLOP/s): the kernels alone reach 98 %;
// 1024^3 91 % on one thread; on two 512^3 89 %, 1024^3 with A transposed 91 %, 256^3 so 86 %.
#pragma once

#include "cpu/gemm_rows.h"

namespace emulsion::cpu::EMULSION_LEVEL {

// Panels of a part: those of a block of the reduction stay in the core's cache, and leave what is
// beyond 1 MiB of it to what passes.
template <class T>
EMULSION_INLINE int64_t panels_together() {
  constexpr int64_t panel_bytes = DepthPlan::target * Tile<T>::columns * sizeof(T), most = 1 << 20;
  return (caches().core < most ? caches().core : most) * 3 / 8 / panel_bytes;
}

// Register tiles of a part. What passes of B for each of them comes from far away where the
// reduction is long: there more rows share it.
template <class T>
EMULSION_INLINE int64_t most_sums(int64_t depth) {
  constexpr int64_t value_bytes = sizeof(T), most = 448 << 10;
  const int64_t few = caches().core >> 13, bytes = caches().core * 25 / 64;
  const int64_t many = (bytes < most ? bytes : most) / (Tile<T>::size * value_bytes);
  return many < few || depth > 1024 * 4 / value_bytes ? many : few;
}

// Part of C: rows [row, row_end) and panels [panel, panel_end).
struct Part {
  int64_t row, row_end, panel, panel_end;
};

// An epilogue that also tells where whole tiles of sums may go without it: place(row, column),
// whose `to` is nullptr where they may not. It costs a pass over the result less.
template <class Finish, class Where>
struct Placed : Finish {
  Where place;
};
template <class Finish, class Where>
Placed(Finish, Where) -> Placed<Finish, Where>;

// The place of the tile at (row, column) whose last block of the reduction is next, or none.
template <class T, class Epilogue>
EMULSION_INLINE Place<T> final_place(Epilogue& epilogue, int64_t row, int64_t column, T* sums) {
  if constexpr (requires { epilogue.place(row, column); }) {
    Place<T> place = epilogue.place(row, column);
    if (!sums) return place;
    // The sums of earlier blocks come first; there is no room for three addends.
    if (place.second.from) return {};
    place.second = place.first;
    place.first = {sums, Tile<T>::columns};
    return place;
  }
  return {};
}

// Computes a part on the calling thread. Uses scratch slots 1 and 2. `product`: see RowTiles.
// epilogue(tile, row, rows, column, columns): tile is [rows][Tile::columns].
template <class T, class Source, class Epilogue>
void multiply_part(const Source& a, const PanelLayout<T>& layout, const T* b, const Part& part,
                   Epilogue&& epilogue, uint64_t product = 0) {
  const DepthPlan plan(a.segments, a.length, a.whole);
  const int64_t rows = part.row_end - part.row, panels = part.panel_end - part.panel;
  if (rows <= 0 || panels <= 0) return;
  const int64_t blocks = plan.blocks();
  RowTiles<T, Source> tiles(a, part.row, rows, plan, layout.count(), product);
  T* const sums = scratch<T>(2, (blocks > 1 ? tiles.count() * panels : 1) * Tile<T>::size);
  if (blocks == 0) std::memset(sums, 0, Tile<T>::size * sizeof(T));

  // The first tile of a block finds its panels far away: each is asked for while the one before is
  // used, the first by the block before. The other tiles find them in L2, and ask for rows instead.
  const auto ahead = [&](int64_t index, int64_t t, int64_t panel) -> Ahead<T> {
    const bool last = panel + 1 == part.panel_end;
    if (last ? t + 1 < tiles.count() || index + 1 == blocks : t > 0)
      return tiles.next_rows(panel - part.panel);
    const int64_t start = plan.block(last ? index + 1 : index).start;
    const Steps<T> next = layout.steps(last ? part.panel : panel + 1, start, b);
    return {next.from, next.apart, cache_line<T>};
  };

  for (int64_t index = 0; index < (blocks > 0 ? blocks : 1); ++index) {
    const DepthPlan::Block block = blocks > 0 ? plan.block(index) : DepthPlan::Block{};
    for (int64_t t = 0; t < tiles.count(); ++t) {
      tiles.take(t, block);
      const int64_t row = tiles.row();
      const int count = tiles.height();
      for (int64_t panel = part.panel; panel < part.panel_end; ++panel) {
        T* const tile = sums + (blocks > 1 ? t * panels + panel - part.panel : 0) * Tile<T>::size;
        const int vectors = layout.vectors(panel);
        const int64_t column = panel * Tile<T>::columns;
        Place<T> place{};
        if (index + 1 == blocks && layout.valid(panel) == vectors * Vec<T>::size)
          place = final_place<T>(epilogue, row, column, index > 0 ? tile : nullptr);
        const bool finished = place.to;
        if (!finished) place = in_tile(tile, index > 0);
        // Results mostly go to lines that are not in the caches; the products hide how they come.
        for (int i = 0; finished && !place.past && i < count; ++i)
          for (int j = 0; j < vectors; ++j)
            __builtin_prefetch(place.to + i * place.pitch + j * Vec<T>::size, 1, 2);
        if (blocks > 0)
          tiles.multiply(vectors, layout.steps(panel, block.start, b), ahead(index, t, panel),
                         place);
        if (index + 1 >= blocks && !finished)
          epilogue(tile, row, count, column, layout.valid(panel));
      }
    }
  }
}

// Packs B and computes C in parallel. pack(panel, to) fills one panel. C is cut into parts that fit
// the caches and are enough for all threads. Uses scratch slots 0 to 2.
template <class T, class Source, class Pack, class Epilogue>
void multiply_parallel(const Source& a, const PanelLayout<T>& layout, Pack&& pack, int64_t rows,
                       Epilogue&& epilogue) {
  const int64_t panels = layout.count(), tiles = (rows + Tile<T>::rows - 1) / Tile<T>::rows;
  if (panels == 0 || tiles == 0) return;
  int64_t width = panels_together<T>();  // per part
  width = panels < width ? panels : width;
  int64_t height = most_sums<T>(layout.depth) / width;  // tiles per part
  // Parts shrink until each thread has four, but not below some ten microseconds of work.
  const int64_t least = 1 + (int64_t{1} << 19) / (Tile<T>::size * (layout.depth + 16));
  const auto parts = [&] {
    return ((tiles + height - 1) / height) * ((panels + width - 1) / width);
  };
  height = tiles < height ? tiles : height;
  while (parts() < 4 * num_threads() && height * width > least && height * width > 1)
    if (height > 1)
      height = (height + 1) / 2;
    else
      width = (width + 1) / 2;
  const int64_t across = (panels + width - 1) / width;
  int64_t down = (tiles + height - 1) / height;
  while (down * across % num_threads() != 0 && down < tiles) ++down;  // all threads end together

  // Packing costs as much as the products of some six rows.
  const bool repeatable = rows >= 64 * num_threads();
  const int64_t first = layout.first_packed();
  const auto pack_range = [&](int64_t begin, int64_t end, T* to) {
    for (int64_t panel = first + begin; panel < first + end; ++panel)
      pack(panel, to + layout.offset(panel));
  };
  const int64_t grain = 1 + 32768 / (layout.depth * Tile<T>::columns + 1);
  const Ingredient<T> packed(0, layout.size(), panels - first, grain, repeatable, pack_range);
  const uint64_t product = across > 1 ? number_of_product() : 0;
  parallel_tasks(down * across, packed, [&](int64_t index, const T* b) {
    const int64_t i = index / across, j = index % across;
    multiply_part<T>(a, layout, b,
                     Part{rows * i / down, rows * (i + 1) / down, panels * j / across,
                          panels * (j + 1) / across},
                     epilogue, product);
  });
}

// turned[j][i] = tile[i][j] for at most Tile::columns rows; both have rows of that length.
template <class T>
void turn_tile(const T* tile, int rows, int columns, T* turned) {
  constexpr int size = Vec<T>::size;
  for (int i = 0; i < rows; i += size)
    for (int j = 0; j < columns; j += size) {
      Vec<T> square[size];
#pragma GCC unroll 16
      for (int k = 0; k < size; ++k)
        square[k] =
            i + k < rows ? Vec<T>::load(tile + (i + k) * Tile<T>::columns + j) : Vec<T>::zero();
      transpose<T>(square);
#pragma GCC unroll 16
      for (int k = 0; k < size; ++k) square[k].store(turned + (j + k) * Tile<T>::columns + i);
    }
}

// The product with its roles exchanged, for few columns of the result and many rows of what is
// usually packed (weights): Cᵀ = A · B is computed, and its tiles reach the epilogue turned, as
// those of C.
template <class T, class Source, class Pack, class Epilogue>
void multiply_turned(const Source& a, const PanelLayout<T>& layout, Pack&& pack, int64_t rows,
                     Epilogue&& epilogue) {
  multiply_parallel<T>(a, layout, pack, rows,
                       [&](const T* tile, int64_t row, int count, int64_t column, int columns) {
                         // A tile may be taller than wide: it turns in squares.
                         constexpr int side = Tile<T>::columns;
                         alignas(64) T turned[side * side];
                         for (int first = 0; first < count; first += side) {
                           const int height = count - first < side ? count - first : side;
                           turn_tile(tile + first * side, height, columns, turned);
                           epilogue(turned, column, columns, row + first, height);
                         }
                       });
}

// C = alpha · A · B (+ C), the plain product on the calling thread, for kernels that are parallel
// themselves (attention, batches). a is [rows][lda] or, transposed, [depth][lda]; b is [depth][ldb]
// or, transposed, [columns][ldb]; c is [rows][ldc]. T is float, double or a 16-bit float; sums are
// Accumulator<T>. Uses scratch slots 0 to 2 of the thread. Deterministic.
template <class In, class Out>
void gemm(int64_t rows, int64_t columns, int64_t depth, const In* a, int64_t lda, bool transpose_a,
          const In* b, int64_t ldb, bool transpose_b, Out* c, int64_t ldc,
          Accumulator<In> alpha = 1, bool accumulate = false) {
  using T = Accumulator<In>;
  const auto layout = panel_layout<T>(rows, depth, columns, b, ldb, transpose_b);
  T* const panels = scratch<T>(0, layout.size());
  for (int64_t panel = layout.first_packed(); panel < layout.count(); ++panel)
    pack_panel(b, ldb, transpose_b, layout, panel, panels + layout.offset(panel));
  const int64_t height = Tile<T>::rows * (1 + most_sums<T>(depth) / (layout.count() + 1));
  const MatrixRows<T, In> source(a, lda, transpose_a, depth);
  const auto finish = [&](const T* tile, int64_t first, int count, int64_t column, int valid) {
    for (int i = 0; i < count; ++i) {
      Out* const to = c + (first + i) * ldc + column;
      for (int j = 0; j < valid; j += Vec<T>::size) {
        Vec<T> value = Vec<T>::load(tile + i * Tile<T>::columns + j) * Vec<T>(alpha);
        if (accumulate) value += load_up_to<T>(to + j, valid - j);
        store_up_to(value, to + j, valid - j);
      }
    }
  };
  const auto place = [&](int64_t first, int64_t column) -> Place<T> {
    if constexpr (__is_same(Out, T)) {
      T* const to = c + first * ldc + column;
      if (alpha == 1) return {to, ldc, {accumulate ? to : nullptr, ldc}};
    }
    return {};
  };
  for (int64_t row = 0; row < rows; row += height)
    multiply_part<T>(source, layout, panels,
                     Part{row, row + height < rows ? row + height : rows, 0, layout.count()},
                     Placed{finish, place});
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
