// Rows of a table by their number.
//
//   y[..., :] = weight[ids[...], :]
//   dweight[i, :] = Σ over positions p with ids[p] = i of dy[p, :], in the order of the positions
//
// weight: [V, D], any dtype forward, floating backward; ids: int32 or int64 of any shape; y, dy:
// the shape of ids followed by D. Every element of dweight is written, rows that no id names become
// zero. An id outside [0, V) is an index_out_of_range error that names the id and its position.
#pragma once

#include "ops/checks.h"

EMULSION_KERNELS(void embedding_forward(const View& weight, const View& ids, View& y);
                 void embedding_backward(const View& dy, const View& ids, View& dweight);)

namespace emulsion {

static inline void check_embedding(const View& table, const View& ids, const View& rows) {
  EMULSION_CHECK(table && ids && rows, "embedding: table, ids and rows are required");
  EMULSION_CHECK(table.rank() == 2, "embedding: the table must be [V, D], got ", table.shape);
  EMULSION_CHECK(is_index(ids.dtype), "embedding: ids must be int32 or int64, got ",
                 dtype_name(ids.dtype));
  EMULSION_CHECK(rows.dtype == table.dtype, "embedding: table and rows must have one dtype");
  EMULSION_CHECK(ids.rank() + 1 == rows.rank() && rows.dim(-1) == table.dim(1),
                 "embedding: rows must be ids' shape and D, got ", rows.shape, " for ids ",
                 ids.shape);
  for (int i = 0; i < ids.rank(); ++i)
    EMULSION_CHECK(rows.dim(i) == ids.dim(i), "embedding: rows ", rows.shape, " for ids ",
                   ids.shape);
}

}  // namespace emulsion
