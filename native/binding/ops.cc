// The table of contents of the engine: one row per kernel. A kernel without a body for a compiled level
// does not link; a row without a user in lib/, or a user without a row, fails a test.
#include "binding/ops.h"

#include "ops/matmul.h"
#include "ops/binary.h"
#include "ops/cast.h"
#include "ops/measure.h"
#include "ops/reduce.h"

#if defined(EMULSION_HAS_baseline)
#define BODY_baseline(name) case Level::baseline: return reinterpret_cast<void*>(&cpu::baseline::name);
#else
#define BODY_baseline(name)
#endif
#if defined(EMULSION_HAS_avx2)
#define BODY_avx2(name) case Level::avx2: return reinterpret_cast<void*>(&cpu::avx2::name);
#else
#define BODY_avx2(name)
#endif
#if defined(EMULSION_HAS_avx512)
#define BODY_avx512(name) case Level::avx512: return reinterpret_cast<void*>(&cpu::avx512::name);
#else
#define BODY_avx512(name)
#endif
#if defined(EMULSION_HAS_neon)
#define BODY_neon(name) case Level::neon: return reinterpret_cast<void*>(&cpu::neon::name);
#else
#define BODY_neon(name)
#endif

// The name's signature is the same in every namespace; baseline's declaration stands for all.
#define OP(name)                                                                  \
  Kernel {                                                                        \
    #name, &Caller<decltype(&cpu::baseline::name)>::call, [](Level level) -> void* { \
      switch (level) {                                                            \
        BODY_baseline(name) BODY_avx2(name) BODY_avx512(name) BODY_neon(name)     \
        default: return nullptr;                                                  \
      }                                                                           \
    }(level)                                                                      \
  }

namespace emulsion::binding {

const std::vector<Kernel>& kernels(Level level) {
  static const std::vector<Kernel> table = {
      OP(matmul_forward),
      OP(accumulate), OP(cast), OP(copy), OP(fill), OP(sum_to),
      OP(measure_bandwidth),
      OP(measure_flops),
  };
  return table;
}

}  // namespace emulsion::binding
