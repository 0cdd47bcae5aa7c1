#include "ops/binary.h"

#include "cpu/loops.h"

namespace emulsion::cpu::EMULSION_LEVEL {

void accumulate(View& into, const View& add) {
  EMULSION_CHECK(into && add && into.dtype == add.dtype && into.shape == add.shape, "accumulate: into ",
                 dtype_name(into.dtype), ' ', into.shape, " and add ", dtype_name(add.dtype), ' ', add.shape,
                 " must have the same shape and dtype");
  EMULSION_CHECK(into.dtype != DType::boolean, "accumulate: bool has no addition");
  dispatch_all(into.dtype, [&]<class T>() {
    using V = Number<T>;
    T* y = into.as<T>();
    const T* x = add.as<T>();
    parallel_for(into.numel(), stream_grain, [&](int64_t begin, int64_t end) {
      for_vectors<V>(begin, end, [&](int64_t i, auto extent) EMULSION_STEP {
        store(load<V>(y + i, extent) + load<V>(x + i, extent), y + i, extent);
      });
    });
  });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
