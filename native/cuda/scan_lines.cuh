// What ops along one axis share: the lines of a tensor, and an order of values as integers.
#pragma once

#include <algorithm>

#include "cuda/device.cuh"
#include "cuda/host.h"
#include "ops/scan.h"

namespace emulsion::cuda {

// How lines are cut into chunks, by their shape alone: none shorter than `least`, and no more than
// make `enough` of them.
struct LineCut {
  int64_t chunk, chunks;

  LineCut(const ScanLines& lines, int64_t least, int64_t enough) {
    const int64_t wanted = std::clamp<int64_t>(
        lines.n / least, 1, std::max<int64_t>(1, enough / std::max<int64_t>(1, lines.count())));
    chunk = ceil_div(ceil_div(lines.n, wanted), least) * least;
    chunk = std::max<int64_t>(1, chunk);
    chunks = std::max<int64_t>(1, ceil_div(lines.n, chunk));
  }
};

// A number that is larger the earlier a value comes: NaN first, then from the largest down or from
// the smallest up. Equal values, both zeros among them, have equal numbers.
template <class T>
__device__ __forceinline__ unsigned long long order_of(T value, bool largest) {
  if constexpr (__is_same(Accumulator<T>, float)) {
    const float number = widen(value);
    if (number != number) return 0xffffffffu;
    const uint32_t bits = __float_as_uint(number + 0.0f);  // -0 becomes 0
    const uint32_t ascending = bits >> 31 ? ~bits : bits | 0x80000000u;
    return largest ? ascending : ~ascending;
  } else {
    const auto ascending =
        static_cast<unsigned long long>(static_cast<long long>(value)) ^ (1ull << 63);
    return largest ? ascending : ~ascending;
  }
}

// Any dtype but float64; bool as the bytes it is.
template <class Body>
void dispatch_orderable(DType dtype, const char* op, Body&& body) {
  if (dtype == DType::boolean) return body.template operator()<uint8_t>();
  dispatch_numeric(dtype, op, std::forward<Body>(body));
}

}  // namespace emulsion::cuda
