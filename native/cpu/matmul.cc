// Batches run in one of two ways: many small products, one thread each; or few large ones, all
// threads each. A transposed A of many rows, as in the gradient of a linear layer's weights, and an
// A of one row go to the product that reads B in place.
#include "ops/matmul.h"

#include "cpu/gemm_deep.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

struct Product {
  int64_t rows, columns, depth;
  int64_t lda, ldb;
  bool transpose_a, transpose_b;
};

// Index of the operand's matrix for the batch-th matrix of y.
int64_t batch_index(const Shape& operand, const Shape& y, int64_t batch) {
  int64_t index = 0, stride = 1;
  for (int axis = 3; axis <= y.rank(); ++axis) {  // counted from the end
    const int64_t position = batch % y[y.rank() - axis];
    batch /= y[y.rank() - axis];
    if (axis > operand.rank()) continue;
    const int64_t extent = operand[operand.rank() - axis];
    if (extent > 1) index += position * stride;
    stride *= extent;
  }
  return index;
}

template <class Stored>
void multiply(const Product& p, const Stored* a, const Stored* b, Stored* y) {
  using T = Accumulator<Stored>;
  // From some 300 x 400 outputs on (1024 x 1280: 304 against 242 GFLOP/s) gemm.h's blocking wins.
  constexpr int64_t deep = 512, small = int64_t{1} << 17;
  if (p.transpose_a && !p.transpose_b && p.depth >= deep && p.rows * p.columns <= small) {
    multiply_deep<T>(p.rows, p.depth, a, p.lda, MatrixColumns<T, Stored>{b, p.ldb},
                     ColumnPanels<T>{1, p.columns}, y);
    return;
  }
  // One row: B is read where it lies, once.
  if (p.rows == 1 && !p.transpose_b) {
    multiply_deep<T>(1, p.depth, a, 1, MatrixColumns<T, Stored>{b, p.ldb},
                     ColumnPanels<T>{1, p.columns}, y);
    return;
  }
  const PanelLayout<T> layout{p.depth, p.columns};
  const T* const panels = pack_panels(layout, [&](int64_t panel, T* to) {
    pack_panel(b, p.ldb, p.transpose_b, layout, panel, to);
  });
  multiply_parallel<T>(MatrixRows<T, Stored>(a, p.lda, p.transpose_a, p.depth), layout, panels,
                       p.rows,
                       [&](const T* tile, int64_t row, int rows, int64_t column, int columns) {
                         for (int i = 0; i < rows; ++i)
                           for (int j = 0; j < columns; j += Vec<T>::size)
                             store_up_to(Vec<T>::load(tile + i * Tile<T>::columns + j),
                                         y + (row + i) * p.columns + column + j, columns - j);
                       });
}

template <class Stored>
void run(const Product& p, const View& a, const View& b, View& y) {
  const int64_t size_a = p.rows * p.depth, size_b = p.depth * p.columns,
                size_y = p.rows * p.columns;
  const int64_t batches = y.shape.product(0, y.rank() - 2);
  const auto at = [&](int64_t batch, auto&& body) {
    body(a.as<Stored>() + batch_index(a.shape, y.shape, batch) * size_a,
         b.as<Stored>() + batch_index(b.shape, y.shape, batch) * size_b,
         y.as<Stored>() + batch * size_y);
  };
  // Small matrices share a batch between threads; large ones share themselves.
  if (batches >= 2 && size_y * p.depth < (int64_t{1} << 22)) {
    const int64_t grain = 1 + (int64_t{1} << 18) / (size_y * p.depth + 1);
    parallel_for(batches, grain, [&](int64_t begin, int64_t end) {
      for (int64_t batch = begin; batch < end; ++batch)
        at(batch, [&](const Stored* x, const Stored* w, Stored* out) {
          gemm(p.rows, p.columns, p.depth, x, p.lda, p.transpose_a, w, p.ldb, p.transpose_b, out,
               p.columns);
        });
    });
    return;
  }
  for (int64_t batch = 0; batch < batches; ++batch)
    at(batch, [&](const Stored* x, const Stored* w, Stored* out) { multiply(p, x, w, out); });
}

}  // namespace

void matmul_forward(const View& a, const View& b, bool transpose_a, bool transpose_b, View& y) {
  check_matmul(a, b, transpose_a, transpose_b, y);
  if (y.numel() == 0) return;
  const Product p{y.dim(-2),   y.dim(-1),  a.dim(transpose_a ? -2 : -1), a.dim(-1), b.dim(-1),
                  transpose_a, transpose_b};
  dispatch_floating(y.dtype, "matmul_forward", [&]<class Stored>() { run<Stored>(p, a, b, y); });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
