// Convolution by the transforms of winograd.h, in two ways.
//
//   many tiles   the filters are transformed first; each task takes a chunk of tiles through all
//                its steps, so that what is transformed stays in its core's cache
//   few tiles    the image is transformed first; each task takes a panel of filters through all its
//                steps, so that no transformed filter, two to four times its weights, reaches
//                memory
//
// Which of them, and the order of each sum, depend on shapes alone.
#pragma once

#include "cpu/winograd.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace winograd {

// How many steps are added one after the other. The products of the larger forms amplify their
// roundings, and get shorter chains for it.
template <class F>
constexpr int64_t longest_chain = F::points > 16 ? 64 : 128;
template <class F>
EMULSION_INLINE int64_t chain_length(int64_t depth) {
  constexpr int64_t least_chains = F::points > 24 ? 6 : F::points > 16 ? 2 : 1;
  const int64_t length = (depth + least_chains - 1) / least_chains;
  return length < longest_chain<F> ? length : longest_chain<F>;
}

// Adds up `length` steps of a register tile, one chain after the other, and asks for a line of
// `ahead`, if any, at each of them.
template <class T>
EMULSION_INLINE void multiply_chains(int rows, int vectors, int64_t length, int64_t chain,
                                     const T* const* a, const T* b, const Ahead<T>& ahead, T* tile,
                                     bool accumulate) {
  const RowsKernel<T> kernel = rows_kernel<T>(rows, vectors, ahead.asks());
  const int64_t width = vectors * Vec<T>::size;
  if (length <= chain) return kernel(1, length, a, b, width, ahead, in_tile(tile, accumulate));
  for (int64_t start = 0; start < length; start += chain) {
    const T* from[Tile<T>::rows];
    for (int i = 0; i < rows; ++i) from[i] = a[i] + start;
    const int64_t rest = length - start;
    kernel(1, rest < chain ? rest : chain, from, b + start * width, width,
           {ahead.from + start * ahead.apart, ahead.apart}, in_tile(tile, accumulate || start > 0));
  }
}

template <class F, class T, class Stored, class Source, class Finish, class Expect>
void convolve_many(const Tiles<F>& tiles, const Stored* image, int64_t stride,
                   const PanelLayout<T>& layout, const Source& source, Finish&& finish,
                   Expect&& expect) {
  constexpr int points = F::points;
  // One packed B of gemm.h per point.
  const int64_t filter_plane = layout.size(), blocks = (layout.depth + 63) / 64;
  const auto transform_blocks = [&](int64_t begin, int64_t end, T* to) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t panel = i / blocks, first = layout.depth * (i % blocks) / blocks;
      const int64_t next = layout.depth * (i % blocks + 1) / blocks;
      source.template transform<F>(
          layout, panel, first, next - first,
          to + layout.offset(panel) + first * layout.vectors(panel) * Vec<T>::size, filter_plane);
    }
  };
  // A filter's transform costs as much as its products with some twenty tiles.
  const Ingredient<T> transformed(0, points * filter_plane, layout.count() * blocks, 1,
                                  tiles.count() >= 64 * num_threads(), transform_blocks);
  const int64_t panels = layout.count(), threads = num_threads(), total = tiles.count();
  const int64_t tile_bytes =
      points * (layout.depth + layout.columns) * static_cast<int64_t>(sizeof(T));
  int64_t length = caches().core / tile_bytes;
  const int64_t least = Tile<T>::rows, most = 16 * Tile<T>::rows;
  length = length < least ? least : length > most ? most : length / least * least;
  // All threads end together; where there are few tiles they share their columns.
  int64_t chunks = (total + length - 1) / length;
  if (chunks < 32 * threads && chunks > threads / 2)
    chunks = (chunks + threads - 1) / threads * threads;
  int64_t shares = (threads + chunks - 1) / chunks;
  if (shares > panels) shares = panels;
  // Blocks of whole chains, so that what a register tile reads of the image stays in L1.
  const int64_t chain = chain_length<F>(layout.depth), block = 384 / chain * chain;

  parallel_tasks(chunks * shares, transformed, [&](int64_t task, const T* filters) {
    const int64_t chunk = task / shares, share = task % shares;
    const int64_t begin = total * chunk / chunks, end = total * (chunk + 1) / chunks;
    const int64_t panel_begin = panels * share / shares, panel_end = panels * (share + 1) / shares;
    Planes<F, T> inputs(end - begin, layout.depth);
    inputs.data = scratch<T>(3, inputs.size());
    transform_inputs(tiles, image, stride, layout.depth, begin, end, begin, inputs);
    const int64_t count = end - begin, parts = (count + Tile<T>::rows - 1) / Tile<T>::rows;
    Planes<F, T> sums = Planes<F, T>::panels(count, panel_end - panel_begin);
    sums.data = scratch<T>(4, sums.size());
    for (int point = 0; point < points; ++point)
      for (int64_t offset = 0; offset < layout.depth; offset += block) {
        const int64_t length = layout.depth - offset < block ? layout.depth - offset : block;
        for (int64_t part = 0; part < parts; ++part) {
          const int64_t row = count * part / parts, next = count * (part + 1) / parts;
          const T* table[Tile<T>::rows];
          for (int64_t i = row; i < next; ++i) table[i - row] = inputs.at(point, i) + offset;
          for (int64_t panel = panel_begin; panel < panel_end; ++panel)
            multiply_chains(
                static_cast<int>(next - row), layout.vectors(panel), length, chain, table,
                filters + point * filter_plane + layout.offset(panel) +
                    offset * layout.vectors(panel) * Vec<T>::size,
                {}, sums.at(point, row) + (panel - panel_begin) * sums.panel, offset > 0);
        }
      }
    transform_outputs(tiles, layout, panel_begin, panel_end, begin, end, sums, finish, expect);
  });
}

// Tiles [start, start + total).
template <class F, class T, class Stored, class Source, class Finish>
void convolve_few(const Tiles<F>& tiles, int64_t start, int64_t total, const Stored* image,
                  int64_t stride, const PanelLayout<T>& layout, const Source& source,
                  Finish&& finish) {
  constexpr int columns = Tile<T>::columns;
  constexpr int points = F::points;
  // Of the reduction, whole chains: a panel's filters, at most 288 KiB, stay in L2.
  const int64_t chain = chain_length<F>(layout.depth), block = longest_chain<F> / chain * chain;
  const int64_t panels = layout.count(), blocks = (layout.depth + block - 1) / block;
  const auto block_length = [&](int64_t index) {
    const int64_t rest = layout.depth - index * block;
    return rest < block ? rest : block;
  };
  const int64_t block_size = Planes<F, T>(total, block).size();
  const auto inputs = [&](int64_t index, T* transformed) {
    Planes<F, T> planes(total, block_length(index));
    planes.data = transformed + index * block_size;
    return planes;
  };
  const auto transform_blocks = [&](int64_t begin, int64_t end, T* to) {
    while (begin < end) {
      const int64_t index = begin / total,
                    next = (index + 1) * total < end ? (index + 1) * total : end;
      transform_inputs(tiles, image + index * block, stride, block_length(index),
                       start + begin - index * total, start + next - index * total, start,
                       inputs(index, to));
      begin = next;
    }
  };
  // A tile's transform costs as much as its products with some seven filters.
  const Ingredient<T> transformed(0, blocks * block_size, blocks * total, 16,
                                  layout.columns >= 64 * num_threads(), transform_blocks);

  const int64_t heights = (total + Tile<T>::rows - 1) / Tile<T>::rows;
  const auto convolve_panel = [&](int64_t panel, int64_t height, int64_t height_end,
                                  T* image_values) {
    const int64_t begin = total * height / heights, end = total * height_end / heights;
    const int64_t count = end - begin, parts = height_end - height;
    const int64_t filter_plane = block * columns + 16;
    T* const filters = scratch<T>(4, points * filter_plane);
    Planes<F, T> sums = Planes<F, T>::panels(count, 1);
    sums.data = scratch<T>(5, sums.size());
    for (int64_t index = 0; index < blocks; ++index) {
      const int64_t length = block_length(index);
      const Planes<F, T> from = inputs(index, image_values);
      source.template transform<F>(layout, panel, index * block, length, filters, filter_plane);
      // The filters of the next block or panel. Inlined by force: GCC takes a function that only
      // prefetches for one without effect, and leaves its calls out.
      const auto prefetch = [&](int point, int64_t part) __attribute__((always_inline)) {
        const int64_t step = point * parts + part, steps = points * parts;
        if (index + 1 < blocks)
          source.prefetch(layout, panel, (index + 1) * block, block_length(index + 1), step, steps);
        else if (panel + 1 < panels)
          source.prefetch(layout, panel + 1, 0, block_length(0), step, steps);
      };
      for (int point = 0; point < points; ++point)
        for (int64_t part = 0; part < parts; ++part) {
          const int64_t row = count * part / parts, next = count * (part + 1) / parts;
          const T* table[Tile<T>::rows];
          for (int64_t i = row; i < next; ++i) table[i - row] = from.at(point, begin + i);
          prefetch(point, part);
          const T* const ahead = part + 1 < parts     ? from.at(point, begin + next)
                                 : point + 1 < points ? from.at(point + 1, begin)
                                                      : table[0];
          multiply_chains(static_cast<int>(next - row), layout.vectors(panel), length, chain, table,
                          filters + point * filter_plane, {ahead, cache_line<T>},
                          sums.at(point, row), index > 0);
        }
    }
    transform_outputs(tiles, layout, panel, panel + 1, start + begin, start + end, sums, finish,
                      [](int64_t, int64_t) {});
  };
  parallel_whole_tasks(panels, heights, transformed, convolve_panel);
}

template <class F, class T, class Stored, class Source, class Finish, class Expect>
void convolve_as(const Extent& extent, const Stored* image, int64_t stride,
                 const PanelLayout<T>& layout, const Source& source, Finish&& finish,
                 Expect&& expect) {
  const Tiles<F> tiles(extent);
  const int64_t total = tiles.count();
  if (!few_tiles(total, layout.depth, layout.columns))
    return convolve_many(tiles, image, stride, layout, source, finish, expect);
  constexpr int64_t most = 256;  // a panel's sums stay close
  const int64_t chunks = (total + most - 1) / most;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t start = total * chunk / chunks;
    convolve_few(tiles, start, total * (chunk + 1) / chunks - start, image, stride, layout, source,
                 finish);
  }
}

// The convolution of an image [N, H, W, stride] with the filters of a source. The longer its sums,
// the larger the form that is no less exact than PyTorch's direct sums: docs/cpu-engine.md. Of
// large images, expect(pixel, column) is called some time before results reach finish, the epilogue
// of gemm.h.
template <class T, class Stored, class Source, class Finish, class Expect>
void convolve(const Extent& extent, const Stored* image, int64_t stride,
              const PanelLayout<T>& layout, const Source& source, Finish&& finish,
              Expect&& expect) {
  constexpr int64_t least_large = 16;  // tiles; fewer leave rows of a register tile idle
  // Where the edge is near there is less to add, which makes PyTorch's sums more exact, but hardly
  // these: what small images take for large must be deeper.
  const int64_t side = extent.P < extent.Q ? extent.P : extent.Q;
  const int64_t depth = 2 * layout.depth / (side >= 16 ? 2 : side >= 8 ? 3 : 7);
  with_form(
      extent, depth >= 32, depth >= 128 && Tiles<Form<4, 4>>(extent).count() >= least_large,
      [&]<class F>() { convolve_as<F>(extent, image, stride, layout, source, finish, expect); });
}

}  // namespace winograd
}  // namespace emulsion::cpu::EMULSION_LEVEL
