// Rows of a table by their number: the kernels are those of slices.cu. Forward reads and writes a
// row of D per id; backward writes the whole of dweight, [V, D], and reads dy once. Bandwidth is
// the roof of both.
#include "ops/embedding.h"

#include "cuda/host.h"
#include "cuda/slices.h"

namespace emulsion::cuda {

void embedding_forward(const View& weight, const View& ids, View& y) {
  check_embedding(weight, ids, y);
  check_indices("embedding", ids, weight.dim(0));
  select_slices("embedding", weight, ids, 1, weight.dim(0), weight.dim(1), y);
}

void embedding_backward(const View& dy, const View& ids, View& dweight) {
  check_embedding(dweight, ids, dy);
  check_indices("embedding", ids, dweight.dim(0));
  add_slices("embedding", View{}, ids, dy, 1, dweight.dim(0), dweight.dim(1), dweight);
}

}  // namespace emulsion::cuda
