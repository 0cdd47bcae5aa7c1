// A shape: up to eight extents, on the stack. Also used for any short list of integers (axes,
// pads).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include "core/dtype.h"
#include "core/errors.h"

namespace emulsion {

class Shape {
 public:
  static constexpr int max_rank = 8;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) {
    for (int64_t dim : dims) push_back(dim);
  }

  EMULSION_INLINE int rank() const { return rank_; }
  EMULSION_INLINE int64_t operator[](int i) const { return dims_[i]; }
  EMULSION_INLINE int64_t& operator[](int i) { return dims_[i]; }
  EMULSION_INLINE const int64_t* begin() const { return dims_; }
  EMULSION_INLINE const int64_t* end() const { return dims_ + rank_; }

  void push_back(int64_t dim) {
    EMULSION_CHECK(rank_ < max_rank, "a shape has at most ", max_rank, " dimensions");
    dims_[rank_++] = dim;
  }

  EMULSION_INLINE int64_t numel() const { return product(0, rank_); }

  // Product of the extents in [from, to): 1 when empty.
  EMULSION_INLINE int64_t product(int from, int to) const {
    int64_t result = 1;
    for (int i = from; i < to; ++i) result *= dims_[i];
    return result;
  }

  EMULSION_INLINE bool operator==(const Shape& other) const {
    if (rank_ != other.rank_) return false;
    for (int i = 0; i < rank_; ++i)
      if (dims_[i] != other.dims_[i]) return false;
    return true;
  }

  std::string to_string() const {
    std::string text = "[";
    for (int i = 0; i < rank_; ++i) text += (i ? ", " : "") + std::to_string(dims_[i]);
    return text + "]";
  }

 private:
  int64_t dims_[max_rank] = {};
  int rank_ = 0;
};

inline std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  return out << shape.to_string();
}

}  // namespace emulsion
