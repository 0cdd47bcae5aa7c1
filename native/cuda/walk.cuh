// What kernels that move values share: units of up to 16 bytes, division by the extents of axes,
// walks over strided axes, and a loop with several loads under way.
#pragma once

#include <initializer_list>
#include <type_traits>

#include "cuda/device.cuh"
#include "cuda/host.h"

namespace emulsion::cuda {

// ---- indices: 32 bits and a Divisor where the numbers allow, else 64 bits

struct WideDivisor {
  int64_t divisor = 1;

  WideDivisor() = default;
  explicit WideDivisor(int64_t value) : divisor(value) {}

  __device__ __forceinline__ int64_t operator()(int64_t n, int64_t& rest) const {
    const int64_t quotient = n / divisor;
    rest = n - quotient * divisor;
    return quotient;
  }
};

template <bool wide>
using Index = std::conditional_t<wide, int64_t, uint32_t>;
template <bool wide>
using Extent = std::conditional_t<wide, WideDivisor, Divisor>;

inline bool is_wide(int64_t count) { return count > INT32_MAX; }

// Calls body.template operator()<wide>() for indices below count.
template <class Body>
void dispatch_wide(int64_t count, Body&& body) {
  if (is_wide(count)) return body.template operator()<true>();
  body.template operator()<false>();
}

// Calls body.template operator()<Id>() with the type of indices that are tensors.
template <class Body>
void dispatch_index(DType dtype, Body&& body) {
  if (dtype == DType::int32) return body.template operator()<int32_t>();
  body.template operator()<int64_t>();
}

// ---- units

inline int64_t address(const void* pointer) { return reinterpret_cast<int64_t>(pointer); }

// The largest unit, up to 16 bytes, that divides all of these addresses, strides and extents (in
// bytes).
inline int64_t widest_unit(std::initializer_list<int64_t> parts) {
  int64_t bits = 16;
  for (int64_t part : parts) bits |= part;
  return bits & -bits;
}

// Calls body.template operator()<Unit>() for a unit of so many bytes.
template <class Body>
void dispatch_unit(int64_t bytes, Body&& body) {
  switch (bytes) {
    case 1: return body.template operator()<uint8_t>();
    case 2: return body.template operator()<uint16_t>();
    case 4: return body.template operator()<uint32_t>();
    case 8: return body.template operator()<unsigned long long>();
    default: return body.template operator()<uint4>();
  }
}

// store(i, load(i)) for i below count, several loads of a thread under way at once. Needs the grid
// of `batched_grid`.
constexpr int batch = 4;

template <class Load, class Store>
__device__ __forceinline__ void stream(int64_t count, Load load, Store store) {
  const int64_t step = batch * grid_threads();
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * (batch * blockDim.x) + threadIdx.x;
  for (int64_t i = begin; i < count; i += step) {
    decltype(load(i)) values[batch] = {};
#pragma unroll
    for (int k = 0; k < batch; ++k)
      if (i + k * blockDim.x < count) values[k] = load(i + k * blockDim.x);
#pragma unroll
    for (int k = 0; k < batch; ++k)
      if (i + k * blockDim.x < count) store(i + k * blockDim.x, values[k]);
  }
}

inline Grid batched_grid(int64_t count) { return stream_grid(ceil_div(count, batch)); }

// ---- strided axes

// The axes of a strided read in the order of a dense result: size-one axes dropped, mergeable ones
// merged.
struct Axes {
  int rank = 0;
  int64_t size[Shape::max_rank];
  int64_t stride[Shape::max_rank];

  void add(int64_t extent, int64_t step) {
    if (extent == 1) return;
    if (rank > 0 && stride[rank - 1] == step * extent) {
      size[rank - 1] *= extent;
      stride[rank - 1] = step;
      return;
    }
    size[rank] = extent;
    stride[rank++] = step;
  }
};

// Where the read for element i of the result begins.
template <bool wide>
struct Walk {
  int rank;
  Extent<wide> extents[Shape::max_rank];
  int64_t strides[Shape::max_rank] = {};

  explicit Walk(const Axes& axes) : rank(axes.rank) {
    for (int d = 0; d < rank; ++d) {
      extents[d] = Extent<wide>(axes.size[d]);
      strides[d] = axes.stride[d];
    }
  }

  __device__ __forceinline__ int64_t offset(int64_t i) const {
    auto rest = static_cast<Index<wide>>(i);
    int64_t at = 0;
    for (int d = rank - 1; d > 0; --d) {
      Index<wide> coordinate;
      rest = extents[d](rest, coordinate);
      at += coordinate * strides[d];
    }
    return at + rest * strides[0];
  }
};

}  // namespace emulsion::cuda
