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

// One row of a product with a short reduction: row[j] = Σ a[k] · b[k][j].
template <class T, int depth, class Stored>
void multiply_shallow_row(const T* a, const Stored* b, int64_t ldb, int64_t columns, Stored* row) {
  const auto sum = [&](int64_t j, auto&& load) {
    Vec<T> total = Vec<T>(a[0]) * load(b + j);
#pragma GCC unroll 4
    for (int k = 1; k < depth; ++k) total = fma(Vec<T>(a[k]), load(b + k * ldb + j), total);
    return total;
  };
  int64_t j = 0;
  for (; j + Vec<T>::size <= columns; j += Vec<T>::size)
    sum(j, [](const Stored* from) { return Vec<T>::load(from); }).store(row + j);
  if (j < columns)
    sum(j, [&](const Stored* from) {
      return Vec<T>::load_partial(from, columns - j);
    }).store_partial(row + j, columns - j);
}

// Products with a reduction of at most four, where writing y is all that takes time.
constexpr int64_t shallow = 4;
template <class Stored>
void multiply_shallow(const Product& p, const Stored* a, const Stored* b, Stored* y) {
  using T = Accumulator<Stored>;
  using Row = void (*)(const T*, const Stored*, int64_t, int64_t, Stored*);
  constexpr Row rows[shallow] = {
      multiply_shallow_row<T, 1, Stored>, multiply_shallow_row<T, 2, Stored>,
      multiply_shallow_row<T, 3, Stored>, multiply_shallow_row<T, 4, Stored>};
  const Row multiply_row = rows[p.depth - 1];
  const int64_t row_step = p.transpose_a ? 1 : p.lda, step = p.transpose_a ? p.lda : 1;
  parallel_for(p.rows, 1 + 16384 / p.columns, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      T values[shallow];
      for (int64_t k = 0; k < p.depth; ++k) values[k] = convert<T>(a[i * row_step + k * step]);
      multiply_row(values, b, p.ldb, p.columns, y + i * p.columns);
    }
  });
}

// Few rows and a large B, as in the input's gradient of a linear layer: packing B, as low tiles do,
// would cost as much as the products of some six rows, and more beyond the caches. A is turned
// instead, and B read where it lies.
constexpr int64_t most_few_rows = 256;
template <class T>
bool few_rows(const Product& p) {
  constexpr int64_t least_values = 1 << 15;
  return !Tile<T>::in_place && !p.transpose_a && !p.transpose_b && p.rows <= most_few_rows &&
         4 * p.rows <= p.columns && p.depth * p.columns >= least_values;
}
template <class T>
void multiply_few(const Product& p, const T* a, const T* b, T* y) {
  constexpr int64_t block = 64;                                      // steps
  T* const turned = scratch<T>(3, p.depth * p.rows + Vec<T>::size);  // [depth][rows]
  const int64_t blocks = (p.depth + block - 1) / block;
  parallel_for(blocks, 1 + 16384 / (block * p.rows), [&](int64_t begin, int64_t end) {
    // A packer writes past its end, which in `turned` may be another thread's beginning.
    T* const own = scratch<T>(1, block * p.rows + Vec<T>::size);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t steps = p.depth - i * block < block ? p.depth - i * block : block;
      const T* rows[most_few_rows];
      for (int64_t row = 0; row < p.rows; ++row) rows[row] = a + row * p.lda + i * block;
      pack_transposed(rows, static_cast<int>(p.rows), steps, own, static_cast<int>(p.rows));
      std::memcpy(turned + i * block * p.rows, own,
                  static_cast<size_t>(steps * p.rows) * sizeof(T));
    }
  });
  multiply_deep<T>(p.rows, p.depth, turned, p.rows, MatrixColumns<T, T>{b, p.ldb},
                   ColumnPanels<T>{1, p.columns}, y);
}

template <class Stored>
void multiply(const Product& p, const Stored* a, const Stored* b, Stored* y) {
  using T = Accumulator<Stored>;
  // From some 300 x 400 outputs on (1024 x 1280: 304 against 242 GFLOP/s) gemm.h's blocking wins,
  // where it packs nothing of either from 180 x 180.
  constexpr int64_t deep = 512, small = int64_t{1} << (Tile<T>::in_place ? 15 : 17);
  if (p.depth > 0 && p.depth <= shallow && (!p.transpose_b || p.depth == 1))
    return multiply_shallow(p, a, b, y);
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
  if constexpr (__is_same(Stored, T))
    if (few_rows<T>(p)) return multiply_few(p, a, b, y);
  const auto layout = panel_layout<T>(p.rows, p.depth, p.columns, b, p.ldb, p.transpose_b);
  const auto pack = [&](int64_t panel, T* to) {
    pack_panel(b, p.ldb, p.transpose_b, layout, panel, to);
  };
  const auto finish = [&](const T* tile, int64_t row, int rows, int64_t column, int columns) {
    for (int i = 0; i < rows; ++i)
      for (int j = 0; j < columns; j += Vec<T>::size)
        store_up_to(Vec<T>::load(tile + i * Tile<T>::columns + j),
                    y + (row + i) * p.columns + column + j, columns - j);
  };
  const auto place = [&](int64_t row, int64_t column) -> Place<T> {
    if constexpr (__is_same(Stored, T)) return {y + row * p.columns + column, p.columns};
    return {};
  };
  multiply_parallel<T>(MatrixRows<T, Stored>(a, p.lda, p.transpose_a, p.depth), layout, pack,
                       p.rows, Placed{finish, place});
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
