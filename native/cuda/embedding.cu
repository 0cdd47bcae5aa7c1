// Rows of a table by their number: the kernels are those of slices.cu. Forward reads and writes a
// row of D per id; backward writes the whole of dweight, [V, D], and reads dy once. Bandwidth is
// the roof of both.
#include "ops/embedding.h"

#include "cuda/host.h"
#include "cuda/slices.h"

namespace emulsion::cuda {
namespace {

void check(const View& table, const View& ids, const View& rows) {
  EMULSION_CHECK(table && ids && rows, "embedding: table, ids and rows are required");
  EMULSION_CHECK(table.rank() == 2, "embedding: the table must be [V, D], got ", table.shape);
  EMULSION_CHECK(ids.dtype == DType::int32 || ids.dtype == DType::int64,
                 "embedding: ids must be int32 or int64, got ", dtype_name(ids.dtype));
  EMULSION_CHECK(rows.dtype == table.dtype, "embedding: table and rows must have one dtype");
  EMULSION_CHECK(ids.rank() + 1 == rows.rank() && rows.dim(-1) == table.dim(1),
                 "embedding: rows must be ids' shape and D, got ", rows.shape, " for ids ",
                 ids.shape);
  for (int i = 0; i < ids.rank(); ++i)
    EMULSION_CHECK(rows.dim(i) == ids.dim(i), "embedding: rows ", rows.shape, " for ids ",
                   ids.shape);
  check_indices("embedding", ids, table.dim(0));
}

}  // namespace

void embedding_forward(const View& weight, const View& ids, View& y) {
  check(weight, ids, y);
  select_slices("embedding", weight, ids, 1, weight.dim(0), weight.dim(1), y);
}

void embedding_backward(const View& dy, const View& ids, View& dweight) {
  check(dweight, ids, dy);
  add_slices("embedding", View{}, ids, dy, 1, dweight.dim(0), dweight.dim(1), dweight);
}

}  // namespace emulsion::cuda
