// Convolutions where a picture meets the network: three channels on one side, many on the other.
//
// To few channels (the last layer forward, the first one backward) the register tiles of gemm.h
// would leave 13 of 16 lanes idle. Here the lanes run along the reduction instead: four pixels
// share every weight, and their sums are folded across the lanes once, at the end.
//
// From few channels a segment per tap would be three values long. The image is copied with its
// padding; the taps of a filter's row then lie side by side and make one segment.
#pragma once

#include "cpu/conv2d_geometry.h"

namespace emulsion::cpu::EMULSION_LEVEL::thin {

constexpr int64_t most_columns = 4;
constexpr int64_t block = 4;     // pixels that share a weight
constexpr int64_t stretch = 64;  // pixels whose addresses are found at once

template <class T>
bool to_few(int64_t columns, int64_t channels) {
  return columns <= most_columns && channels >= Vec<T>::size / 2 &&
         channels <= PixelRows<T, T>::most_channels;
}

// Weights as [tap][vector of channels][column][lane], zero beyond the channels. Uses scratch slot
// 0. weight(column, tap, channel) gives one.
template <class T, class Weight>
const T* pack_weights(int64_t columns, int64_t taps, int64_t channels, Weight&& weight) {
  constexpr int64_t size = Vec<T>::size;
  const int64_t vectors = (channels + size - 1) / size;
  T* const to = scratch<T>(0, taps * vectors * columns * size);
  for (int64_t tap = 0; tap < taps; ++tap)
    for (int64_t column = 0; column < columns; ++column)
      for (int64_t c = 0; c < vectors * size; ++c)
        to[((tap * vectors + c / size) * columns + column) * size + c % size] =
            c < channels ? convert<T>(weight(column, tap, c)) : T(0);
  return to;
}

// Lane i becomes the sum of the lanes of vectors[i]: log2(size) rounds of folding pairs.
template <class T>
EMULSION_INLINE Vec<T> fold(Vec<T> (&vectors)[Vec<T>::size]) {
  using Sequence = std::make_integer_sequence<int, Vec<T>::size>;
#pragma GCC unroll 4
  for (int half = Vec<T>::size / 2; half >= 1; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i)
      vectors[i] = detail::interleave_low(vectors[i], vectors[i + half], Sequence{}) +
                   detail::interleave_high(vectors[i], vectors[i + half], Sequence{});
  return vectors[0];
}

// tile [block][Tile::columns]: what `block` pixels sum up. table: [tap][stretch], where they read.
template <class T, int columns, class Stored>
void multiply_block(const Stored* const* table, int64_t taps, int64_t channels, const T* weights,
                    T* tile) {
  using V = Vec<T>;
  constexpr int count = block * columns, groups = (count + V::size - 1) / V::size;
  V sums[groups * V::size];
#pragma GCC unroll 16
  for (int i = 0; i < groups * V::size; ++i) sums[i] = V::zero();
  for (int64_t tap = 0; tap < taps; ++tap, table += stretch)
    for (int64_t c = 0; c < channels; c += V::size, weights += columns * V::size) {
#pragma GCC unroll 4
      for (int i = 0; i < block; ++i) {
        const V x = load_up_to<T>(table[i] + c, channels - c);
#pragma GCC unroll 4
        for (int k = 0; k < columns; ++k)
          sums[i * columns + k] = fma(x, V::load(weights + k * V::size), sums[i * columns + k]);
      }
    }
  T folded[groups * V::size];
#pragma GCC unroll 2
  for (int group = 0; group < groups; ++group) {
    V part[V::size];
#pragma GCC unroll 16
    for (int i = 0; i < V::size; ++i) part[i] = sums[group * V::size + i];
    fold(part).store(folded + group * V::size);
  }
  for (int i = 0; i < block; ++i)
    for (int k = 0; k < columns; ++k) tile[i * Tile<T>::columns + k] = folded[i * columns + k];
}

// y [pixels][columns] through epilogue(tile, pixel, count, 0, columns), as multiply_parallel's.
template <class T, class Stored, class Epilogue>
void multiply(const PixelRows<T, Stored>& rows, const T* weights, int64_t columns, int64_t pixels,
              Epilogue&& epilogue) {
  using Kernel = void (*)(const Stored* const*, int64_t, int64_t, const T*, T*);
  constexpr Kernel kernels[most_columns] = {
      multiply_block<T, 1, Stored>, multiply_block<T, 2, Stored>, multiply_block<T, 3, Stored>,
      multiply_block<T, 4, Stored>};
  const Kernel kernel = kernels[columns - 1];
  const int64_t stretches = (pixels + stretch - 1) / stretch;
  const int64_t work = stretch * rows.segments * rows.length * columns;
  parallel_for(stretches, 1 + 262144 / (work + 1), [&](int64_t begin, int64_t end) {
    const Stored** const table = scratch<const Stored*>(1, rows.segments * stretch);
    T tile[block * Tile<T>::columns] = {};
    for (int64_t at = begin; at < end; ++at) {
      const int64_t first = at * stretch;
      const int64_t count = pixels - first < stretch ? pixels - first : stretch;
      for (int64_t tap = 0; tap < rows.segments; ++tap) {
        const Stored** const to = table + tap * stretch;
        rows.walk(first, count, tap, 0, to);
        for (int64_t i = count; i % block != 0; ++i) to[i] = to[count - 1];
      }
      for (int64_t i = 0; i < count; i += block) {
        kernel(table + i, rows.segments, rows.length, weights, tile);
        const int64_t left = count - i;
        epilogue(tile, first + i, static_cast<int>(left < block ? left : block), 0,
                 static_cast<int>(columns));
      }
    }
  });
}

template <class T>
bool from_few(const ConvGeometry& g) {
  return g.groups == 1 && g.dilation_w == 1 && g.S > 1 && g.C < Vec<T>::size / 2;
}

// The rows that output pixels read in a padded copy of the image, a segment per row of the filter.
// Uses scratch slot 3.
template <class T, class Stored>
PixelRows<T, Stored> padded_rows(const ConvGeometry& g, const Stored* image, TapList& taps) {
  // As far as the last filter reaches; what padding lies beyond is never read.
  const int64_t height = (g.P - 1) * g.stride_h + (g.R - 1) * g.dilation_h + 1;
  const int64_t width = (g.Q - 1) * g.stride_w + g.S, row = width * g.C;
  Stored* const copy = scratch<Stored>(3, g.N * height * row);
  const int64_t left = g.left < width ? g.left : width;
  const int64_t inside = width - left < g.W ? width - left : g.W;
  parallel_for(g.N * height, 1 + 16384 / (row + 1), [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const int64_t n = line / height, h = line % height - g.top;
      Stored* const to = copy + line * row;
      const bool covered = h >= 0 && h < g.H;
      const int64_t head = covered ? left * g.C : row, body = covered ? inside * g.C : 0;
      std::memset(to, 0, static_cast<size_t>(head) * sizeof(Stored));
      std::memcpy(to + head, image + (n * g.H + (covered ? h : 0)) * g.W * g.C,
                  static_cast<size_t>(body) * sizeof(Stored));
      std::memset(to + head + body, 0, static_cast<size_t>(row - head - body) * sizeof(Stored));
    }
  });
  for (int64_t r = 0; r < g.R; ++r) taps.add({r * g.dilation_h, 0});
  return {copy,       height,     width,       g.C,         g.P,      g.Q,
          g.stride_h, g.stride_w, taps.data(), taps.size(), g.S * g.C};
}

}  // namespace emulsion::cpu::EMULSION_LEVEL::thin
