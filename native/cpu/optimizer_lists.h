// What optimizer steps share: loops over the elements of many tensors.
#pragma once

#include "cpu/ahead.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"
#include "ops/optimizer.h"

namespace emulsion::cpu::EMULSION_LEVEL {

constexpr int64_t grain_elements = 16384;
// How far ahead a walk asks for what it reads: a processor's prefetchers, which stop at the end of
// a page, ask too late for memory that is slow to answer.
constexpr int64_t bytes_ahead = 2048;

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

// Runs step(load, store) over a piece in vectors, asking for what comes next; the last, partial
// vector goes through load_partial/store_partial.
template <class A, class Step>
EMULSION_INLINE void in_vectors(int64_t count, Step&& step) {
  int64_t i = 0;
  for (; i + Vec<A>::size <= count; i += Vec<A>::size)
    step(
        [&](const auto* from) {
          prefetch_beyond<bytes_ahead>(from + i);
          return Vec<A>::load(from + i);
        },
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
