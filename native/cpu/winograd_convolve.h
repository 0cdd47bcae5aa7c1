// Convolution by the transforms of winograd.h, in two ways.
//
//   many tiles   the filters are transformed first; each task takes a chunk of tiles through all
//                its steps, so that what is transformed stays in its core's cache
//   few tiles    the image is transformed first; each task takes a panel of filters through all its
//                steps, so that no transformed filter, 16/9 of the weights, reaches memory
//
// Which of them, and the order of each sum, depend on shapes alone.
#pragma once

#include "cpu/winograd.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace winograd {

template <class T, class Source>
const T* pack_filters(const PanelLayout<T>& layout, const Source& filters, int64_t plane) {
  constexpr int64_t block = 64;
  const int64_t blocks = (layout.depth + block - 1) / block;
  T* const to = scratch<T>(0, points * plane);
  parallel_for(layout.count() * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t panel = i / blocks, first = i % blocks * block, rest = layout.depth - first;
      filters.transform(layout, panel, first, rest < block ? rest : block,
                        to + layout.offset(panel) + first * layout.vectors(panel) * Vec<T>::size,
                        plane);
    }
  });
  return to;
}

template <class T, class Stored, class Source, class Finish>
void convolve_many(const Tiles& tiles, const Stored* image, int64_t stride,
                   const PanelLayout<T>& layout, const Source& source, Finish&& finish) {
  // One packed B of gemm.h per point.
  const int64_t filter_plane = layout.size();
  const T* const filters = pack_filters(layout, source, filter_plane);
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
    const int64_t count = end - begin, parts = (count + Tile<T>::rows - 1) / Tile<T>::rows;
    Planes<T> sums = Planes<T>::panels(count, panel_end - panel_begin);
    sums.data = scratch<T>(4, sums.size());
    const DepthPlan plan(1, layout.depth, 2 * DepthPlan::target);
    for (int point = 0; point < points; ++point)
      for (int64_t index = 0; index < plan.blocks(); ++index) {
        const DepthPlan::Block block = plan.block(index);
        for (int64_t part = 0; part < parts; ++part) {
          const int64_t row = count * part / parts, next = count * (part + 1) / parts;
          const T* table[Tile<T>::rows];
          for (int64_t i = row; i < next; ++i) table[i - row] = inputs.at(point, i) + block.offset;
          for (int64_t panel = panel_begin; panel < panel_end; ++panel)
            rows_kernel<T>(static_cast<int>(next - row), layout.vectors(panel))(
                1, block.length, table,
                filters + point * filter_plane + layout.offset(panel) +
                    block.start * layout.vectors(panel) * Vec<T>::size,
                {table[0], 0}, sums.at(point, row) + (panel - panel_begin) * sums.panel, index > 0);
        }
      }
    transform_outputs(tiles, layout, panel_begin, panel_end, begin, end, sums, finish);
  });
}

// Tiles [start, start + total).
template <class T, class Stored, class Source, class Finish>
void convolve_few(const Tiles& tiles, int64_t start, int64_t total, const Stored* image,
                  int64_t stride, const PanelLayout<T>& layout, const Source& source,
                  Finish&& finish) {
  constexpr int columns = Tile<T>::columns;
  constexpr int64_t block = 128;  // of the reduction: a panel's filters, 256 KiB, stay in L2
  const int64_t panels = layout.count(), blocks = (layout.depth + block - 1) / block;
  const auto block_length = [&](int64_t index) {
    const int64_t rest = layout.depth - index * block;
    return rest < block ? rest : block;
  };
  const int64_t block_size = Planes<T>(total, block).size();
  T* const transformed = scratch<T>(0, blocks * block_size);
  const auto inputs = [&](int64_t index) {
    Planes<T> planes(total, block_length(index));
    planes.data = transformed + index * block_size;
    return planes;
  };
  parallel_for(blocks * total, 16, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t index = begin / total,
                    next = (index + 1) * total < end ? (index + 1) * total : end;
      transform_inputs(tiles, image + index * block, stride, block_length(index),
                       start + begin - index * total, start + next - index * total, start,
                       inputs(index));
      begin = next;
    }
  });

  // Where there are few panels, they are shared by tiles.
  const int64_t heights = (total + Tile<T>::rows - 1) / Tile<T>::rows;
  int64_t shares = (4 * num_threads() + panels - 1) / panels;
  if (shares > heights) shares = heights;
  parallel_tasks(panels * shares, [&](int64_t task) {
    const int64_t panel = task / shares, share = task % shares;
    const int64_t begin = total * share / shares, end = total * (share + 1) / shares;
    const int64_t count = end - begin, parts = (count + Tile<T>::rows - 1) / Tile<T>::rows;
    const int64_t filter_plane = block * columns + 16;
    T* const filters = scratch<T>(4, points * filter_plane);
    Planes<T> sums = Planes<T>::panels(count, 1);
    sums.data = scratch<T>(5, sums.size());
    for (int64_t index = 0; index < blocks; ++index) {
      const int64_t length = block_length(index);
      const Planes<T> from = inputs(index);
      source.transform(layout, panel, index * block, length, filters, filter_plane);
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
          rows_kernel<T>(static_cast<int>(next - row), layout.vectors(panel))(
              1, length, table, filters + point * filter_plane, {ahead, line<T>},
              sums.at(point, row), index > 0);
        }
    }
    transform_outputs(tiles, layout, panel, panel + 1, start + begin, start + end, sums, finish);
  });
}

// The convolution of an image [N, H, W, stride] with the filters of a source.
template <class T, class Stored, class Source, class Finish>
void convolve(const Tiles& tiles, const Stored* image, int64_t stride, const PanelLayout<T>& layout,
              const Source& source, Finish&& finish) {
  const int64_t total = tiles.count();
  if (!few_tiles(total, layout.depth, layout.columns))
    return convolve_many(tiles, image, stride, layout, source, finish);
  constexpr int64_t most = 256;  // of a panel: their sums, 512 KiB, stay in L2
  const int64_t chunks = (total + most - 1) / most;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t start = total * chunk / chunks;
    convolve_few(tiles, start, total * (chunk + 1) / chunks - start, image, stride, layout, source,
                 finish);
  }
}

}  // namespace winograd
}  // namespace emulsion::cpu::EMULSION_LEVEL
