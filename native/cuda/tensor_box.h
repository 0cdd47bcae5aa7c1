// What bulk copies (TMA) move: boxes of a tensor in global memory, and the rules of the hardware
// for both. For code that launches; the maps themselves are made by tensor_map.h.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "core/errors.h"

namespace emulsion::cuda {

// Innermost dimension first. A box that reaches over an edge is filled with zeros there, or not
// stored. swizzle: bytes of a row of the box, 32, 64 or 128, whose 16-byte chunks change places by
// their row (bits 4..6 of the address ^= bits 7..9, as far as the span needs); 0 for none.
struct TensorBox {
  int rank;
  int64_t extent[5];  // elements
  int64_t stride[5];  // bytes; the first is the element's size
  int box[5];         // elements
  int swizzle;
};

inline void check_box(const char* op, const void* base, DType dtype, const TensorBox& of) {
  const auto size = static_cast<int64_t>(dtype_size(dtype));
  EMULSION_CHECK(of.rank >= 1 && of.rank <= 5, op, ": a tensor map of rank ", of.rank);
  EMULSION_CHECK(reinterpret_cast<uintptr_t>(base) % 16 == 0, op,
                 ": a tensor map of memory that is not 16-byte aligned");
  EMULSION_CHECK(of.stride[0] == size, op, ": a tensor map whose elements are not dense");
  const int64_t row = of.box[0] * size;
  EMULSION_CHECK(of.swizzle == 0 || of.swizzle == 32 || of.swizzle == 64 || of.swizzle == 128, op,
                 ": a swizzle of ", of.swizzle, " bytes");
  EMULSION_CHECK(row % 16 == 0 && (of.swizzle == 0 || row == of.swizzle), op,
                 ": boxes with rows of ", row, " bytes for a swizzle of ", of.swizzle);
  for (int i = 0; i < of.rank; ++i) {
    EMULSION_CHECK(of.extent[i] >= 1 && of.extent[i] <= int64_t{1} << 32, op,
                   ": a tensor map with an extent of ", of.extent[i]);
    EMULSION_CHECK(of.box[i] >= 1 && of.box[i] <= 256, op, ": a box of ", of.box[i], " elements");
    EMULSION_CHECK(i == 0 || (of.stride[i] % 16 == 0 && of.stride[i] < int64_t{1} << 40), op,
                   ": a tensor map with a stride of ", of.stride[i], " bytes");
  }
}

}  // namespace emulsion::cuda
