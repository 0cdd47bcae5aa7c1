// Elementwise ops of two operands and `where`: one broadcast loop, a row per functor of
// ops/elementwise.h.
//
// A thread makes `width` neighbours of the result. Where the inner extent and the pointers allow,
// width fills 16 bytes, and an operand that repeats along the inner axis is read once per pack.
// Bandwidth is the roof.
#include "ops/binary.h"

#include "core/broadcast.h"
#include "cuda/device.cuh"
#include "cuda/host.h"
#include "ops/elementwise.h"

namespace emulsion::cuda {
namespace {

using namespace elementwise;

// A broadcast plan as kernels read it: packs along the inner axis, the outer ones by division.
template <int operands>
struct Walk {
  int64_t packs;  // of the result
  int outer;      // axes above the inner one
  int64_t inner;  // packs along the inner axis
  int64_t extents[Shape::max_rank];
  int64_t steps[operands][Shape::max_rank];
  bool repeats[operands];

  Walk(const BroadcastPlan<operands>& plan, int width) {
    outer = plan.extents.rank() - 1;
    inner = plan.inner() / width;
    packs = plan.extents.numel() / width;
    for (int d = 0; d < outer; ++d) extents[d] = plan.extents[d];
    for (int k = 0; k < operands; ++k) {
      repeats[k] = plan.repeats(k);
      for (int d = 0; d < outer; ++d) steps[k][d] = plan.steps[k][d];
    }
  }

  // Where the operands' elements for a pack of the result begin.
  template <int width>
  __device__ __forceinline__ void offsets(int64_t pack, int64_t (&at)[operands]) const {
    int64_t rest = outer ? pack / inner : 0;
    const int64_t column = (pack - rest * inner) * width;
    for (int k = 0; k < operands; ++k) at[k] = repeats[k] ? 0 : column;
    for (int d = outer - 1; d >= 0; --d) {
      const int64_t above = rest / extents[d], index = rest - above * extents[d];
      for (int k = 0; k < operands; ++k) at[k] += index * steps[k][d];
      rest = above;
    }
  }
};

template <class T, int width>
__device__ __forceinline__ Pack<T, width> fetch(const T* from, bool repeats) {
  if (!repeats) return load_pack<T, width>(from);
  Pack<T, width> pack;
  for (T& value : pack.values) value = *from;
  return pack;
}

template <class Functor, class T, int width>
__global__ void combine_kernel(const T* a, const T* b, T* y, Walk<2> walk) {
  using V = Lane<Accumulator<T>>;
  for (int64_t i = grid_thread(); i < walk.packs; i += grid_threads()) {
    int64_t at[2];
    walk.template offsets<width>(i, at);
    Pack<T, width> left = fetch<T, width>(a + at[0], walk.repeats[0]);
    const Pack<T, width> right = fetch<T, width>(b + at[1], walk.repeats[1]);
#pragma unroll
    for (int k = 0; k < width; ++k)
      left.values[k] =
          narrow<T>(Functor::value(V(widen(left.values[k])), V(widen(right.values[k]))).v);
    store_pack(y + i * width, left);
  }
}

template <class Relation, class T>
__global__ void relate_kernel(const T* a, const T* b, bool* y, Walk<2> walk) {
  for (int64_t i = grid_thread(); i < walk.packs; i += grid_threads()) {
    int64_t at[2];
    walk.template offsets<1>(i, at);
    y[i] = Relation::holds(widen(a[at[0]]), widen(b[at[1]]));
  }
}

template <class T>
__global__ void where_kernel(const bool* condition, const T* a, const T* b, T* y, Walk<3> walk) {
  for (int64_t i = grid_thread(); i < walk.packs; i += grid_threads()) {
    int64_t at[3];
    walk.template offsets<1>(i, at);
    y[i] = condition[at[0]] ? a[at[1]] : b[at[2]];
  }
}

// Whether packs of `width` elements never cross the inner axis and always begin at a border of 16
// bytes.
template <int operands, class... Pointers>
bool packs(const BroadcastPlan<operands>& plan, int width, const Pointers*... pointers) {
  bool fits = plan.inner() % width == 0 && vectors(pointers...);
  for (int k = 0; k < operands; ++k)
    for (int d = 0; d + 1 < plan.extents.rank() && !plan.repeats(k); ++d)
      fits = fits && plan.steps[k][d] % width == 0;
  return fits;
}

template <class Functor, class T>
void combine(const char* op, const View& a, const View& b, View& y) {
  constexpr int width = 16 / sizeof(T);
  const BroadcastPlan<2> plan(op, y.shape, {&a, &b});
  if (packs(plan, width, a.data, b.data, y.data)) {
    const Walk<2> walk(plan, width);
    launch(op, combine_kernel<Functor, T, width>, stream_grid(walk.packs), a.as<T>(), b.as<T>(),
           y.as<T>(), walk);
  } else {
    const Walk<2> walk(plan, 1);
    launch(op, combine_kernel<Functor, T, 1>, stream_grid(walk.packs), a.as<T>(), b.as<T>(),
           y.as<T>(), walk);
  }
}

template <class Relation, class T>
void relate(const char* op, const View& a, const View& b, View& y) {
  const Walk<2> walk(BroadcastPlan<2>(op, y.shape, {&a, &b}), 1);
  launch(op, relate_kernel<Relation, T>, stream_grid(walk.packs), a.as<T>(), b.as<T>(),
         y.as<bool>(), walk);
}

#define EMULSION_DEFINE_RELATION(name, symbol)               \
  struct Relation_##name {                                   \
    template <class V>                                       \
    __device__ __forceinline__ static bool holds(V a, V b) { \
      return (a symbol b) != 0;                              \
    }                                                        \
  };
EMULSION_COMPARE(EMULSION_DEFINE_RELATION)
EMULSION_LOGICAL(EMULSION_DEFINE_RELATION)

template <class Body>
void dispatch_comparable(DType dtype, const char* op, Body&& body) {
  if (dtype == DType::boolean) return body.template operator()<bool>();
  dispatch_numeric(dtype, op, body);
}

}  // namespace

void accumulate(View& into, const View& add) {
  check_accumulate(into, add);
  dispatch_numeric(into.dtype, "accumulate",
                   [&]<class T>() { combine<Add, T>("accumulate", into, add, into); });
}

#define EMULSION_DEFINE_FLOATING(name, functor)                                              \
  void name##_forward(const View& a, const View& b, View& y) {                               \
    check_binary(#name, a, b, y);                                                            \
    dispatch_float(a.dtype, #name, [&]<class T>() { combine<functor, T>(#name, a, b, y); }); \
  }
#define EMULSION_DEFINE_NUMERIC(name, functor)                                                 \
  void name##_forward(const View& a, const View& b, View& y) {                                 \
    check_binary(#name, a, b, y);                                                              \
    dispatch_numeric(a.dtype, #name, [&]<class T>() { combine<functor, T>(#name, a, b, y); }); \
  }
#define EMULSION_DEFINE_COMPARE(name, symbol)                                            \
  void name##_forward(const View& a, const View& b, View& y) {                           \
    check_compare(#name, a, b, y);                                                       \
    dispatch_comparable(a.dtype, #name,                                                  \
                        [&]<class T>() { relate<Relation_##name, T>(#name, a, b, y); }); \
  }
#define EMULSION_DEFINE_LOGICAL(name, symbol)                  \
  void name##_forward(const View& a, const View& b, View& y) { \
    check_logical(#name, a, b, y);                             \
    relate<Relation_##name, bool>(#name, a, b, y);             \
  }

EMULSION_BINARY_FLOATING(EMULSION_DEFINE_FLOATING)
EMULSION_BINARY_NUMERIC(EMULSION_DEFINE_NUMERIC)
EMULSION_COMPARE(EMULSION_DEFINE_COMPARE)
EMULSION_LOGICAL(EMULSION_DEFINE_LOGICAL)

void where_forward(const View& condition, const View& a, const View& b, View& y) {
  check_where(condition, a, b, y);
  const Walk<3> walk(BroadcastPlan<3>("where", y.shape, {&condition, &a, &b}), 1);
  dispatch_width(y.dtype, [&]<class T>() {
    launch("where", where_kernel<T>, stream_grid(walk.packs), condition.as<bool>(), a.as<T>(),
           b.as<T>(), y.as<T>(), walk);
  });
}

}  // namespace emulsion::cuda
