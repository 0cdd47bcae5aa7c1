// Convolutions where a picture meets the network: three channels on one side, many on the other. To
// few channels they are the product of thin.h. From few channels a segment per tap would be three
// values long: the image is copied with its padding, and the taps of a filter's row, which then lie
// side by side, make one segment.
#pragma once

#include "cpu/conv2d_geometry.h"
#include "cpu/thin.h"

namespace emulsion::cpu::EMULSION_LEVEL::thin {

template <class T>
bool to_few(int64_t columns, int64_t channels) {
  return columns <= most_columns && channels >= Vec<T>::size / 2 &&
         channels <= PixelRows<T, T>::most_channels;
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
