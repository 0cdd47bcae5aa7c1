// What optimizer steps share: checks of the lists they get, and loops over the elements of many
// tensors.
#pragma once

#include "cpu/parallel.h"
#include "cpu/simd.h"
#include "ops/optimizer.h"

namespace emulsion::cpu::EMULSION_LEVEL {

constexpr int64_t grain_elements = 16384;

inline bool same_list(const Views& a, const Views& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!(a[i].shape == b[i].shape) || !a[i].present || !b[i].present) return false;
  return true;
}

inline DType state_dtype(DType param) {
  return param == DType::float64 ? DType::float64 : DType::float32;
}

inline void check_state(const char* op, const char* name, const Views& params, const Views& state) {
  EMULSION_CHECK(same_list(params, state), op, ": ", name,
                 " must match the parameters in number and shape");
  for (size_t i = 0; i < params.size(); ++i)
    EMULSION_CHECK(state[i].dtype == state_dtype(params[i].dtype), op, ": ", name, " of a ",
                   dtype_name(params[i].dtype), " parameter must be ",
                   dtype_name(state_dtype(params[i].dtype)), ", got ", dtype_name(state[i].dtype));
}

inline void check_grads(const char* op, const Views& params, const Views& grads,
                        const Views& masters, const View& grad_scale) {
  EMULSION_CHECK(same_list(params, grads), op,
                 ": gradients must match the parameters in number and shape");
  for (size_t i = 0; i < params.size(); ++i) {
    EMULSION_CHECK(is_floating(params[i].dtype), op, ": parameters must be floating");
    EMULSION_CHECK(
        grads[i].dtype == params[i].dtype || grads[i].dtype == state_dtype(params[i].dtype), op,
        ": a gradient of a ", dtype_name(params[i].dtype), " parameter is ",
        dtype_name(grads[i].dtype));
  }
  if (!masters.empty()) check_state(op, "masters", params, masters);
  EMULSION_CHECK(
      !grad_scale.present || (grad_scale.dtype == DType::float32 && grad_scale.numel() == 1), op,
      ": grad_scale must be one float32");
}

inline float scale_of(const View& grad_scale) {
  return grad_scale.present ? *grad_scale.as<float>() : 1.0f;
}

// The C++ types of one parameter: P as stored, G of its gradient, A of the arithmetic and the
// state.
template <class Body>
EMULSION_INLINE void dispatch_param(const View& param, const View& grad, const char* op,
                                    Body&& body) {
  dispatch_floating(param.dtype, op, [&]<class P>() {
    using A = Accumulator<P>;
    if (grad.dtype == param.dtype) return body.template operator()<P, P, A>();
    body.template operator()<P, A, A>();
  });
}

// Runs step(load, store) over a piece in vectors; the last, partial vector goes through
// load_partial/store_partial.
template <class A, class Step>
EMULSION_INLINE void in_vectors(int64_t count, Step&& step) {
  int64_t i = 0;
  for (; i + Vec<A>::size <= count; i += Vec<A>::size)
    step([&](const auto* from) { return Vec<A>::load(from + i); },
         [&](Vec<A> value, auto* to) { value.store(to + i); });
  if (i < count)
    step([&](const auto* from) { return Vec<A>::load_partial(from + i, count - i); },
         [&](Vec<A> value, auto* to) { value.store_partial(to + i, count - i); });
}

template <class A>
A* at(const Views& list, size_t tensor, int64_t first) {
  return list.empty() ? nullptr : list[tensor].as<A>() + first;
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
