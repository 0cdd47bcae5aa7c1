// Lists of tensors in one launch: pointers and sizes travel in the kernel's arguments, as many as
// fit into 4 KiB, and each block works on a piece of one tensor.
#pragma once

#include <array>

#include "cuda/device.cuh"
#include "cuda/host.h"
#include "ops/optimizer.h"

namespace emulsion::cuda {

constexpr int piece_elements = 8192;  // of a block: borders depend on the tensor alone
constexpr int piece_threads = 256;

// The piece of a tensor that a block works on.
struct TensorPiece {
  int tensor;     // its place in the table
  int64_t first;  // element
  int count;      // elements
  bool packed;    // all lists are aligned to 16 bytes here
};

template <int lists>
struct TensorTable {
  static constexpr int argument_bytes = 4096 - 160;  // the rest is for other arguments
  static constexpr int most = (argument_bytes - 8) / (8 * lists + 8 + 4 + 1);

  void* at[lists][most];
  int64_t counts[most];
  int first_block[most + 1];
  bool packed[most];
  int tensors = 0;

  int blocks() const { return tensors ? first_block[tensors] : 0; }

  __device__ __forceinline__ TensorPiece piece() const {
    const int block = static_cast<int>(blockIdx.x);
    int low = 0, high = tensors;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (first_block[middle] <= block ? low : high) = middle;
    }
    const int64_t first = static_cast<int64_t>(block - first_block[low]) * piece_elements;
    return {low, first, static_cast<int>(::min(counts[low] - first, int64_t{piece_elements})),
            packed[low]};
  }

  // The piece's elements of one list; nullptr where the list is empty.
  template <class T>
  __device__ __forceinline__ T* elements(int list, const TensorPiece& piece) const {
    void* start = at[list][piece.tensor];
    return start ? static_cast<T*>(start) + piece.first : nullptr;
  }
};

// Four neighbours from element i of a piece on; behind its end they are zeros.
template <class T>
__device__ __forceinline__ void load_four(const T* from, int i, const TensorPiece& piece,
                                          float (&to)[4]) {
  if (piece.packed && i + 4 <= piece.count) {
    const Pack<T, 4> pack = load_pack<T, 4>(from + i);
#pragma unroll
    for (int k = 0; k < 4; ++k) to[k] = widen(pack.values[k]);
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k) to[k] = i + k < piece.count ? widen(from[i + k]) : 0.0f;
  }
}

template <class T>
__device__ __forceinline__ void store_four(T* to, int i, const TensorPiece& piece,
                                           const float (&from)[4]) {
  if (piece.packed && i + 4 <= piece.count) {
    Pack<T, 4> pack;
#pragma unroll
    for (int k = 0; k < 4; ++k) pack.values[k] = narrow<T>(from[k]);
    store_pack(to + i, pack);
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (i + k < piece.count) to[i + k] = narrow<T>(from[k]);
  }
}

// Calls start(table) with tables that together hold the tensors for which wanted(index) holds.
template <int lists, class Wanted, class Start>
void in_tables(const std::array<const Views*, lists>& all, Wanted&& wanted, Start&& start) {
  constexpr int most_blocks = 1 << 30;
  TensorTable<lists> table;
  for (size_t i = 0; i < all[0]->size(); ++i) {
    const int64_t count = (*all[0])[i].numel();
    if (count == 0 || !wanted(i)) continue;
    const int64_t blocks = ceil_div(count, piece_elements);
    if (table.tensors == table.most || table.blocks() + blocks > most_blocks) {
      start(table);
      table.tensors = 0;
    }
    const int place = table.tensors;
    table.first_block[place] = table.blocks();
    table.first_block[place + 1] = table.first_block[place] + static_cast<int>(blocks);
    table.counts[place] = count;
    table.packed[place] = true;
    for (int list = 0; list < lists; ++list) {
      void* data = all[list]->empty() ? nullptr : (*all[list])[i].data;
      table.at[list][place] = data;
      table.packed[place] = table.packed[place] && vectors(data);
    }
    ++table.tensors;
  }
  if (table.tensors) start(table);
}

template <int lists>
Grid grid_of(const TensorTable<lists>& table) {
  return {dim3(static_cast<unsigned>(table.blocks())), dim3(piece_threads)};
}

inline void refuse_float64(const char* op, const Views& xs) {
  for (const View& x : xs) refuse_float64(op, x.dtype);
}

inline const float* pointer_or_null(const View& x) { return x.present ? x.as<float>() : nullptr; }

// Calls body.template operator()<P>(wanted) for each dtype of parameters; wanted(i) tells its own.
template <class Body>
void for_param_dtypes(const Views& params, Body&& body) {
  const auto for_dtype = [&]<class P>(DType dtype) {
    for (const View& param : params)
      if (param.dtype == dtype)
        return body.template operator()<P>([&](size_t i) { return params[i].dtype == dtype; });
  };
  for_dtype.template operator()<float>(DType::float32);
  for_dtype.template operator()<bfloat16>(DType::bfloat16);
  for_dtype.template operator()<float16>(DType::float16);
}

// As for_param_dtypes, with the dtypes G of gradients: the parameter's or float32.
template <class Body>
void for_step_dtypes(const Views& params, const Views& grads, Body&& body) {
  for_param_dtypes(params, [&]<class P>(auto&& of_dtype) {
    const auto same = [&](size_t i) { return grads[i].dtype == params[i].dtype; };
    body.template operator()<P, P>([&](size_t i) { return of_dtype(i) && same(i); });
    if constexpr (!__is_same(P, float))
      body.template operator()<P, float>([&](size_t i) { return of_dtype(i) && !same(i); });
  });
}

}  // namespace emulsion::cuda
