// The table of contents of the engine: one row per kernel. A kernel without a body for a compiled
// level does not link; a row without a user in lib/, or a user without a row, fails a test.
#include "binding/ops.h"

#include "ops/attention.h"
#include "ops/batch_norm.h"
#include "ops/binary.h"
#include "ops/cast.h"
#include "ops/conv2d.h"
#include "ops/cross_entropy.h"
#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/geglu.h"
#include "ops/group_norm.h"
#include "ops/indexing.h"
#include "ops/layer_norm.h"
#include "ops/layout.h"
#include "ops/linear.h"
#include "ops/matmul.h"
#include "ops/measure.h"
#include "ops/nearest_codes.h"
#include "ops/optimizer.h"
#include "ops/pad.h"
#include "ops/pool.h"
#include "ops/random.h"
#include "ops/reduce.h"
#include "ops/resize.h"
#include "ops/scan.h"
#include "ops/softmax.h"
#include "ops/timestep_embedding.h"

#if defined(EMULSION_HAS_baseline)
#define BODY_baseline(name) \
  case Level::baseline:     \
    return reinterpret_cast<void*>(&cpu::baseline::name);
#else
#define BODY_baseline(name)
#endif
#if defined(EMULSION_HAS_avx2)
#define BODY_avx2(name) \
  case Level::avx2:     \
    return reinterpret_cast<void*>(&cpu::avx2::name);
#else
#define BODY_avx2(name)
#endif
#if defined(EMULSION_HAS_avx512)
#define BODY_avx512(name) \
  case Level::avx512:     \
    return reinterpret_cast<void*>(&cpu::avx512::name);
#else
#define BODY_avx512(name)
#endif
#if defined(EMULSION_HAS_neon)
#define BODY_neon(name) \
  case Level::neon:     \
    return reinterpret_cast<void*>(&cpu::neon::name);
#else
#define BODY_neon(name)
#endif

#if defined(EMULSION_HAS_cuda)
#define BODY_cuda(name) reinterpret_cast<void*>(&cuda::name)
#else
#define BODY_cuda(name) nullptr
#endif

// The name's signature is the same in every namespace; baseline's declaration stands for all.
#define ROW(name, cuda_body)                                                       \
  Kernel {                                                                         \
#name, &Caller<decltype(&cpu::baseline::name)>::call, [](Level level) -> void* { \
      switch (level) {                                                            \
        BODY_baseline(name) BODY_avx2(name) BODY_avx512(name) BODY_neon(name)     \
        default: return nullptr;                                                  \
      }                                                                           \
    }(level), cuda_body \
  }
#define OP(name) ROW(name, BODY_cuda(name))
// What measures the host's own limits.
#define OP_CPU(name) ROW(name, nullptr)

// Rows of ops/elementwise.h's lists.
#define OP_UNARY(name, functor) OP(name##_forward), OP(name##_backward),
#define OP_BINARY(name, functor) OP(name##_forward),

namespace emulsion::binding {

const std::vector<Kernel>& kernels(Level level) {
  static const std::vector<Kernel> table = {
      OP(conv2d_backward_input),
      OP(conv2d_backward_weight),
      OP(conv2d_forward),
      OP(activation_backward),
      OP(linear_forward),
      OP(matmul_forward),
      OP(attention_forward),
      OP(attention_backward),
      OP(avg_pool2d_forward),
      OP(avg_pool2d_backward),
      OP(max_pool2d_forward),
      OP(max_pool2d_backward),
      OP(embedding_forward),
      OP(embedding_backward),
      OP(resize_forward),
      OP(resize_backward),
      OP(nearest_codes),
      OP(timestep_embedding),
      EMULSION_UNARY_FLOATING(OP_UNARY) EMULSION_UNARY_NUMERIC(OP_UNARY)
          EMULSION_BINARY_FLOATING(OP_BINARY) EMULSION_BINARY_NUMERIC(OP_BINARY)
              EMULSION_COMPARE(OP_BINARY) EMULSION_LOGICAL(OP_BINARY) OP(where_forward),
      OP(geglu_forward),
      OP(geglu_backward),
      OP(arg_extreme),
      OP(cumsum),
      OP(topk_forward),
      OP(topk_backward),
      OP(group_norm_forward),
      OP(group_norm_backward),
      OP(layer_norm_forward),
      OP(layer_norm_backward),
      OP(batch_norm_forward),
      OP(batch_norm_backward),
      OP(softmax_forward),
      OP(softmax_backward),
      OP(log_softmax_forward),
      OP(log_softmax_backward),
      OP(cross_entropy_forward),
      OP(cross_entropy_backward),
      OP(accumulate),
      OP(cast),
      OP(copy),
      OP(fill),
      OP(reduce_sum),
      OP(reduce_mean),
      OP(reduce_prod),
      OP(reduce_square),
      OP(reduce_max),
      OP(reduce_min),
      OP(reduce_any),
      OP(reduce_all),
      OP(sum_to),
      OP_CPU(measure_bandwidth),
      OP_CPU(measure_flops),
      OP(strided_copy),
      OP(concat),
      OP(pad_forward),
      OP(pad_backward),
      OP(gather_forward),
      OP(scatter_add_forward),
      OP(index_select_forward),
      OP(index_add_forward),
      OP(one_hot_forward),
      OP(random_normal),
      OP(random_uniform),
      OP(random_integers),
      OP(random_bernoulli),
      OP(dropout),
      OP(random_permutation),
      OP(adam_step),
      OP(sgd_step),
      OP(muon_step),
      OP(ema_update),
      OP(global_norm),
      OP(scale_tensors),
  };
  return table;
}

}  // namespace emulsion::binding
