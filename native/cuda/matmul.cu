// Products of matrices: gemm.cuh's engine over plain matrices, both of whose operands lie either
// way round.
//
// y [batch, M, K] from a and b, 2·M·C·K operations on M·C + C·K + M·K elements. Tensor cores
// (float32: FMA units) are the roof but for thin operands, where it is bandwidth: those whose depth
// is contiguous go to gemm_thin.cuh, the others to small tiles with the depth split. Lines that are
// no multiple of 16 bytes long are copied element by element.
#include "cuda/columns.cuh"
#include "cuda/gemm_thin.cuh"
#include "ops/matmul.h"

namespace emulsion::cuda {
namespace {

using namespace gemm;

// The batch axes of an operand against y's, neighbours merged where the operand walks them as one.
Batches batches_of(const Shape& operand, const Shape& y) {
  Batches result;
  int64_t stride = operand.product(std::max(0, operand.rank() - 2), operand.rank());
  int extents[most_axes];
  int64_t strides[most_axes];
  int axes = 0;  // last first
  for (int axis = 3; axis <= y.rank(); ++axis) {
    const int64_t extent = y[y.rank() - axis],
                  own = axis <= operand.rank() ? operand[operand.rank() - axis] : 1;
    const int64_t step = own > 1 ? stride : 0;
    stride *= own;
    if (extent == 1) continue;
    if (axes > 0 && step == strides[axes - 1] * extents[axes - 1]) {
      extents[axes - 1] *= static_cast<int>(extent);
      continue;
    }
    extents[axes] = static_cast<int>(extent);
    strides[axes++] = step;
  }
  result.axes = axes;
  for (int i = 0; i < axes; ++i) {
    result.extents[i] = extents[axes - 1 - i];
    result.strides[i] = strides[axes - 1 - i];
  }
  return result;
}

// As the caller sees it: rows x depth of A, columns x depth of B. deep: the depth is contiguous.
struct Operand {
  const View& view;
  bool deep;
  int64_t rows, depth;
  Batches batches;

  int64_t pitch() const { return deep ? depth : rows; }
  bool whole_chunks() const {
    return vectors(view.data) && pitch() * dtype_size(view.dtype) % 16 == 0;
  }

  template <class T, bool deep_, int width>
  Matrix<T, deep_, width> matrix() const {
    return {view.as<T>(), pitch(), static_cast<int>(rows), static_cast<int>(depth), batches};
  }
};

template <class T>
void run(const Operand& a, const Operand& b, View& y) {
  constexpr int chunk = 16 / sizeof(T);
  const Problem problem{a.rows, b.rows, a.depth, y.shape.product(0, y.rank() - 2)};
  const auto store = [&]<int width>() {
    return StoreRows<T, width>{y.as<T>(), static_cast<int>(a.rows), static_cast<int>(b.rows),
                               b.rows % width == 0 && is_aligned(y.data, width * sizeof(T))};
  };
  const auto with = [&]<bool deep_a, bool deep_b, int width>() {
    multiply("matmul", a.matrix<T, deep_a, width>(), b.matrix<T, deep_b, width>(),
             store.template operator()<chunk>(), problem);
  };
  const auto thin = [&]<int width>() {
    const auto left = a.matrix<T, true, width>(), right = b.matrix<T, true, width>();
    const auto fours = store.template operator()<few>();
    a.rows <= few ? multiply_thin("matmul", left, right, fours, problem)
                  : multiply_thin("matmul", right, left, fours, problem, true);
  };
  const auto thick = [&]<int width>() {
    if (a.deep)
      b.deep ? with.template operator()<true, true, width>()
             : with.template operator()<true, false, width>();
    else
      b.deep ? with.template operator()<false, true, width>()
             : with.template operator()<false, false, width>();
  };
  const bool whole = a.whole_chunks() && b.whole_chunks();
  if (a.deep && b.deep && std::min(a.rows, b.rows) <= few)
    whole ? thin.template operator()<chunk>() : thin.template operator()<1>();
  else
    whole ? thick.template operator()<chunk>() : thick.template operator()<1>();
}

}  // namespace

void matmul_forward(const View& a, const View& b, bool transpose_a, bool transpose_b, View& y) {
  check_matmul(a, b, transpose_a, transpose_b, y);
  if (y.numel() == 0) return;
  const int64_t rows = y.dim(-2), columns = y.dim(-1), depth = a.dim(transpose_a ? -2 : -1);
  // One row lies the same either way round.
  const Operand left{a, !transpose_a || rows == 1, rows, depth, batches_of(a.shape, y.shape)},
      right{b, transpose_b || columns == 1, columns, depth, batches_of(b.shape, y.shape)};
  dispatch_float(y.dtype, "matmul_forward", [&]<class T>() { run<T>(left, right, y); });
}

}  // namespace emulsion::cuda
