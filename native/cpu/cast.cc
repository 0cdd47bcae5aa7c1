#include "ops/cast.h"

#include "cpu/loops.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

// Types whose values fit a float exactly or round to one: these travel through Vec<float>.
template <class T>
constexpr bool is_short_float =
    __is_same(T, float) || __is_same(T, bfloat16) || __is_same(T, float16);

template <class To, class From>
void cast_range(const From* x, To* y, int64_t begin, int64_t end, bool past) {
  if constexpr (is_short_float<From> && is_short_float<To>) {
    using V = Vec<float>;
    for_vectors<V>(begin, end, past && is_aligned(y + begin),
                   [&](int64_t i, auto extent)
                       EMULSION_STEP { store(load<V>(x + i, extent), y + i, extent); });
  } else {
    for (int64_t i = begin; i < end; ++i) y[i] = cast_value<To>(x[i]);
  }
}

}  // namespace

void fill(double value, View& y) {
  EMULSION_CHECK(y, "fill: y is missing");
  dispatch_all(y.dtype, [&]<class T>() {
    const T filling = cast_value<T>(value);
    T* to = y.as<T>();
    parallel_for(y.numel(), stream_grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = filling;
    });
  });
}

void copy(const View& x, View& y) {
  check_copy(x, y);
  const char* from = x.as<char>();
  char* to = y.as<char>();
  parallel_for(x.bytes(), 4 * stream_grain, [&](int64_t begin, int64_t end) {
    std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
  });
}

void cast(const View& x, View& y) {
  check_cast(x, y);
  if (x.dtype == y.dtype) return copy(x, y);
  dispatch_all(x.dtype, [&]<class From>() {
    dispatch_all(y.dtype, [&]<class To>() {
      const From* from = x.as<From>();
      To* to = y.as<To>();
      const bool past = exceeds_caches(y.bytes());
      parallel_for(x.numel(), stream_grain,
                   [&](int64_t begin, int64_t end) { cast_range(from, to, begin, end, past); });
    });
  });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
