// Bound by memory. The backward pass sorts the positions by id (a stable counting sort), so that
// each row of the gradient is summed by one thread, in the order of the positions, and written
// once.
#include "ops/embedding.h"

#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

// Bytes or elements per thread that are worth waking one.
constexpr int64_t grain_bytes = 65536;

int64_t id_at(const View& ids, int64_t position) {
  return ids.dtype == DType::int32 ? ids.as<int32_t>()[position] : ids.as<int64_t>()[position];
}

int64_t checked_id(const View& ids, int64_t position, int64_t rows) {
  const int64_t id = id_at(ids, position);
  if (id < 0 || id >= rows)
    fail(ErrorCode::index_out_of_range, "embedding: id ", id, " at position ", position,
         " is not a row of the table; ids must be in [0, ", rows, ")");
  return id;
}

// order[first[i] .. first[i + 1]) are the positions with id i, ascending.
struct Sorted {
  const int64_t* first;
  const int64_t* order;
};

Sorted sort_positions(const View& ids, int64_t rows) {
  const int64_t count = ids.numel();
  int64_t* first = scratch<int64_t>(3, rows + 1 + count);
  int64_t* order = first + rows + 1;
  for (int64_t i = 0; i <= rows; ++i) first[i] = 0;
  for (int64_t p = 0; p < count; ++p) ++first[checked_id(ids, p, rows)];
  for (int64_t i = 0, end = 0; i <= rows; ++i)
    first[i] = end += first[i];  // where each id's run ends
  for (int64_t p = count - 1; p >= 0; --p) order[--first[id_at(ids, p)]] = p;
  return {first, order};
}

template <class Stored>
void sum_rows(const View& dy, const Sorted& sorted, View& dweight) {
  using V = Vec<Accumulator<Stored>>;
  const int64_t D = dweight.dim(1), row_bytes = D * static_cast<int64_t>(sizeof(Stored));
  const Stored* from = dy.as<Stored>();
  parallel_for(dweight.dim(0), 1 + grain_bytes / (1 + row_bytes), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      for (int64_t d = 0; d < D; d += V::size) {
        const int64_t lanes = D - d < V::size ? D - d : V::size;
        V total = V::zero();
        for (int64_t i = sorted.first[row]; i < sorted.first[row + 1]; ++i)
          total += V::load_partial(from + sorted.order[i] * D + d, lanes);
        total.store_partial(dweight.as<Stored>() + row * D + d, lanes);
      }
  });
}

}  // namespace

void embedding_forward(const View& weight, const View& ids, View& y) {
  check_embedding(weight, ids, y);
  const int64_t row_bytes = weight.dim(1) * dtype_size(weight.dtype);
  parallel_for(ids.numel(), 1 + grain_bytes / (1 + row_bytes), [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p)
      std::memcpy(y.as<char>() + p * row_bytes,
                  weight.as<char>() + checked_id(ids, p, weight.dim(0)) * row_bytes,
                  static_cast<size_t>(row_bytes));
  });
}

void embedding_backward(const View& dy, const View& ids, View& dweight) {
  check_embedding(dweight, ids, dy);
  const Sorted sorted = sort_positions(ids, dweight.dim(0));
  dispatch_floating(dweight.dtype, "embedding",
                    [&]<class Stored>() { sum_rows<Stored>(dy, sorted, dweight); });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
