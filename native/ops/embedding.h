// Rows of a table by their number.
//
//   y[..., :] = weight[ids[...], :]
//   dweight[i, :] = Σ over positions p with ids[p] = i of dy[p, :], in the order of the positions
//
// weight: [V, D], any dtype forward, floating backward; ids: int32 or int64 of any shape; y, dy:
// the shape of ids followed by D. Every element of dweight is written, rows that no id names become
// zero. An id outside [0, V) is an index_out_of_range error that names the id and its position.
#pragma once

#include "ops/kernels.h"

EMULSION_KERNELS(void embedding_forward(const View& weight, const View& ids, View& y);
                 void embedding_backward(const View& dy, const View& ids, View& dweight);)
