// Indices that come from the outside, looked through before anything is written.
//
// Two launches: the first position outside the range by an integer minimum, which is the same in
// any order, then one thread that records it if nothing was recorded before. Latency is the roof:
// indices are few.
#include "cuda/device.cuh"
#include "cuda/host.h"

namespace emulsion::cuda {
namespace {

constexpr unsigned long long nowhere = ~0ull;

__global__ void start_search(unsigned long long* first) { *first = nowhere; }

template <class Index>
__global__ void find_outside(const Index* ids, int64_t count, int64_t extent,
                             unsigned long long* first) {
  for (int64_t i = grid_thread(); i < count; i += grid_threads())
    if (ids[i] < 0 || ids[i] >= extent) {
      atomicMin(first, static_cast<unsigned long long>(i));
      return;  // later ones of this thread lie behind
    }
}

template <class Index>
__global__ void record_outside(const Index* ids, int64_t extent, unsigned long long op,
                               const unsigned long long* first, Fault* fault) {
  if (*first == nowhere || fault->op) return;
  fault->index = ids[*first];
  fault->position = static_cast<long long>(*first);
  fault->extent = extent;
  fault->op = op;
}

template <class Index>
void search(const char* op, const View& ids, int64_t extent) {
  const Workspace first(sizeof(unsigned long long));
  auto* found = first.as<unsigned long long>();
  launch(op, start_search, {dim3(1), dim3(1)}, found);
  launch(op, find_outside<Index>, stream_grid(ids.numel()), ids.as<Index>(), ids.numel(), extent,
         found);
  launch(op, record_outside<Index>, {dim3(1), dim3(1)}, ids.as<Index>(), extent,
         reinterpret_cast<unsigned long long>(op), found, fault_slot());
}

}  // namespace

Error describe(const Fault& fault) {
  return Error(ErrorCode::index_out_of_range,
               std::string(reinterpret_cast<const char*>(fault.op)) + ": index " +
                   std::to_string(fault.index) + " at position " + std::to_string(fault.position) +
                   " is outside 0.." + std::to_string(fault.extent - 1));
}

void check_indices(const char* op, const View& ids, int64_t extent) {
  if (ids.numel() == 0) return;
  switch (ids.dtype) {
    case DType::int32: return search<int32_t>(op, ids, extent);
    case DType::int64: return search<int64_t>(op, ids, extent);
    default:
      fail(ErrorCode::invalid_argument, op, ": indices must be int32 or int64, got ",
           dtype_name(ids.dtype));
  }
}

}  // namespace emulsion::cuda
