// Convolutions where a picture meets the network: three channels on one side, many on the other. To
// few channels they are the product of thin.h. From few channels a segment per tap would be three
// values long: the image is copied with its padding, and the taps of a filter's row, which then lie
// side by side, make one segment. The gradient of filters to few channels does the same with what
// it gets of the outputs.
#pragma once

#include "cpu/conv2d_geometry.h"
#include "cpu/gemm_deep.h"
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

// Whether weight_gradient_to_few computes the gradient of a group's filters.
template <class T>
bool gradient_to_few(const ConvGeometry& g) {
  return g.group_K <= most_columns && g.S > 1 && g.stride_h == 1 && g.stride_w == 1 &&
         g.dilation_h == 1 && g.dilation_w == 1 && g.top < g.R && g.left < g.S && g.W >= 48 &&
         g.group_C % Vec<T>::size == 0;
}

// dweight [K][R][S][C] of images [N, H, W, g.C] and their gradients [N, P, Q, g.K]. A pixel of the
// image meets S neighbouring gradients of K values in each of R rows. With their edges filled up
// those are one run of values, which begins K further on for the next pixel: a panel A whose steps
// overlap. So a register tile is S times as high, and a block of the image is read once. Uses
// scratch slots 0 and 3.
template <class T>
void weight_gradient_to_few(const ConvGeometry& g, const T* dy, const T* image, T* dweight) {
  const int64_t K = g.group_K, C = g.group_C, rows = g.S * K;
  const int64_t height = g.H + g.R - 1, width = g.W + g.S - 1;
  const int64_t above = g.R - 1 - g.top, before = g.S - 1 - g.left;
  T* const gradients = scratch<T>(3, g.N * height * width * K);
  parallel_for(g.N * height, 1 + 16384 / (width * K), [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      T* const to = gradients + line * width * K;
      std::memset(to, 0, static_cast<size_t>(width * K) * sizeof(T));
      const int64_t n = line / height, p = line % height - above;
      if (p < 0 || p >= g.P) continue;
      const T* const from = dy + (n * g.P + p) * g.Q * g.K;
      for (int64_t q = 0; q < g.Q && q + before < width; ++q)
        for (int64_t k = 0; k < K; ++k) to[(q + before) * K + k] = from[q * g.K + k];
    }
  });

  const PanelLayout<T> layout{0, C};
  const int64_t panels = layout.count(), tiles = (rows + Tile<T>::rows - 1) / Tile<T>::rows;
  const auto tile_row = [&](int64_t tile) { return rows * tile / tiles; };
  const int64_t lines = g.N * g.H, splits = lines < 24 ? lines : 24;
  const int64_t apart = g.R * panels * tiles * Tile<T>::size;  // sums of a split
  T* const sums = scratch<T>(0, splits * apart);
  const auto tile_of = [&](int64_t r, int64_t panel, int64_t t) {
    return ((r * panels + panel) * tiles + t) * Tile<T>::size;
  };
  parallel_tasks(splits, [&](int64_t split) {
    const int64_t begin = lines * split / splits, end = lines * (split + 1) / splits;
    for (int64_t line = begin; line < end; ++line)
      for (int64_t at = 0; at < g.W; at += deep_block) {
        const int64_t steps = g.W - at < deep_block ? g.W - at : deep_block;
        const Run<T> run{0, steps, image + (line * g.W + at) * g.C};
        for (int64_t panel = 0; panel < panels; ++panel)
          for (int64_t r = 0; r < g.R; ++r)
            for (int64_t t = 0; t < tiles; ++t) {
              const int64_t row = line / g.H * height + line % g.H + g.R - 1 - r;
              const T* const from = gradients + (row * width + at) * K + tile_row(t);
              // The same columns of the next block, a line of each pixel at a time.
              const int64_t column = panel * Tile<T>::columns;
              const int64_t turn = (r * tiles + t) * cache_line<T>;
              const bool asks = turn < layout.valid(panel);
              const T* const next = run.b + steps * g.C + column + turn;
              const Ahead<T> ahead = asks ? Ahead<T>{next, g.C} : Ahead<T>{};
              runs_kernel<T>(static_cast<int>(tile_row(t + 1) - tile_row(t)), layout.vectors(panel),
                             ahead.asks())(
                  &run, 1, g.C, column, from, K, ahead,
                  in_tile(sums + split * apart + tile_of(r, panel, t), line > begin || at > 0));
            }
      }
  });

  parallel_for(K * g.R * g.S, 1 + 16384 / (C * splits), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t k = i / g.S / g.R, r = i / g.S % g.R, row = (g.S - 1 - i % g.S) * K + k;
      const int64_t t = ((row + 1) * tiles - 1) / rows;
      for (int64_t c = 0; c < C; c += Vec<T>::size) {
        const T* const from = sums + tile_of(r, c / Tile<T>::columns, t) +
                              (row - tile_row(t)) * Tile<T>::columns + c % Tile<T>::columns;
        Vec<T> total = Vec<T>::load(from);
        for (int64_t split = 1; split < splits; ++split)
          total += Vec<T>::load(from + split * apart);
        total.store(dweight + i * C + c);
      }
    }
  });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL::thin
