// Padding: a thread fills units of y, up to 16 bytes wide, from where its mode says; the gradient
// of the mirroring modes gathers, for a unit of dx, all places of dy that show it, in row-major
// order. Every byte of y (of dy) is moved once: bandwidth is the roof.
//
// Axes are merged first: a constant pad of [N, H, W, C] in H and W walks three axes, the innermost
// W·C elements wide.
#include "ops/pad.h"

#include <cstring>

#include "cuda/walk.cuh"

namespace emulsion::cuda {
namespace {

// n elements become m, the first at position before.
struct PadAxis {
  int64_t n, m, before;
};

struct PadPlan {
  int rank = 0;
  PadAxis axis[Shape::max_rank];
};

PadPlan plan_pad(const Shape& x, const Shape& before, int64_t mode, const Shape& y) {
  PadPlan plan;
  for (int k = 0; k < x.rank(); ++k) {
    if (x[k] == 1 && y[k] == 1) continue;
    // An axis without a pad lies inside the one above, unless that one is mirrored.
    PadAxis* above = plan.rank ? &plan.axis[plan.rank - 1] : nullptr;
    if (above && x[k] == y[k] && (mode == pad_constant || above->n == above->m))
      *above = {above->n * x[k], above->m * y[k], above->before * x[k]};
    else
      plan.axis[plan.rank++] = {x[k], y[k], before[k]};
  }
  if (plan.rank == 0) plan.axis[plan.rank++] = {1, 1, 0};
  return plan;
}

// Walks units of so many elements from now on.
void use_units(PadPlan& plan, int64_t elements) {
  PadAxis& inner = plan.axis[plan.rank - 1];
  inner = {inner.n / elements, inner.m / elements, inner.before / elements};
}

template <bool wide>
struct PadWalk {
  using Position = std::conditional_t<wide, int64_t, int32_t>;
  int rank, mode;
  Extent<wide> places[Shape::max_rank];  // of the axes that the thread's index runs over
  Position n[Shape::max_rank], m[Shape::max_rank], before[Shape::max_rank];

  PadWalk(const PadPlan& plan, int64_t pad_mode, bool over_result)
      : rank(plan.rank), mode(static_cast<int>(pad_mode)) {
    for (int k = 0; k < rank; ++k) {
      places[k] = Extent<wide>(over_result ? plan.axis[k].m : plan.axis[k].n);
      n[k] = static_cast<Position>(plan.axis[k].n);
      m[k] = static_cast<Position>(plan.axis[k].m);
      before[k] = static_cast<Position>(plan.axis[k].before);
    }
  }

  // The element that place o of axis k shows, or -1 for the constant.
  __device__ __forceinline__ Position source(Position o, int k) const {
    Position i = o - before[k];
    if (i >= 0 && i < n[k]) return i;
    if (mode == pad_constant) return -1;
    if (mode == pad_replicate) return i < 0 ? 0 : n[k] - 1;
    i = i < 0 ? -i : i;
    return i < n[k] ? i : 2 * (n[k] - 1) - i;
  }

  // All places that show element i of axis k: `shown` of them, the element itself before its mirror
  // images.
  __device__ __forceinline__ Position shown(Position i, int k) const {
    if (mode == pad_replicate)
      return 1 + (i == 0 ? before[k] : 0) + (i == n[k] - 1 ? m[k] - n[k] - before[k] : 0);
    return 1 + mirrored_before(i, k) + mirrored_after(i, k);
  }
  __device__ __forceinline__ Position place(Position i, Position which, int k) const {
    if (mode == pad_replicate) return (i == 0 ? 0 : before[k] + i) + which;
    if (which == 0) return before[k] + i;
    return which == 1 && mirrored_before(i, k) ? before[k] - i : before[k] + 2 * (n[k] - 1) - i;
  }

 private:
  __device__ __forceinline__ bool mirrored_before(Position i, int k) const {
    return i >= 1 && i <= before[k];
  }
  __device__ __forceinline__ bool mirrored_after(Position i, int k) const {
    return i < n[k] - 1 && before[k] + 2 * (n[k] - 1) - i < m[k];
  }
};

template <class Unit, bool wide>
__global__ void pad_kernel(const Unit* x, Unit* y, int64_t count, PadWalk<wide> walk,
                           Unit constant) {
  stream(
      count,
      [&](int64_t i) {
        auto rest = static_cast<Index<wide>>(i);
        int64_t from = 0, scale = 1;
        bool inside = true;
        for (int k = walk.rank - 1; k >= 0; --k) {
          Index<wide> o;
          rest = walk.places[k](rest, o);
          const auto source = walk.source(static_cast<typename PadWalk<wide>::Position>(o), k);
          inside = inside && source >= 0;
          from += source * scale;
          scale *= walk.n[k];
        }
        return inside ? x[from] : constant;
      },
      [&](int64_t i, Unit value) { y[i] = value; });
}

template <class T, int width, bool wide>
__global__ void unpad_kernel(const T* dy, T* dx, int64_t count, PadWalk<wide> walk) {
  using Position = typename PadWalk<wide>::Position;
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) {
    Position places = 1;
    auto rest = static_cast<Index<wide>>(i);
    for (int k = walk.rank - 1; k >= 0; --k) {
      Index<wide> at;
      rest = walk.places[k](rest, at);
      places *= walk.shown(static_cast<Position>(at), k);
    }
    float total[width] = {};
    for (Position place = 0; place < places; ++place) {
      rest = static_cast<Index<wide>>(i);
      Position which = place;
      int64_t from = 0, scale = 1;
      for (int k = walk.rank - 1; k >= 0; --k) {
        Index<wide> at;
        rest = walk.places[k](rest, at);
        const auto element = static_cast<Position>(at);
        const Position shown = walk.shown(element, k), above = shown > 1 ? which / shown : which;
        from += walk.place(element, which - above * shown, k) * scale;
        scale *= walk.m[k];
        which = above;
      }
      const Pack<T, width> pack = load_pack<T, width>(dy + from * width);
#pragma unroll
      for (int e = 0; e < width; ++e)
        total[e] = place == 0 ? widen(pack.values[e]) : total[e] + widen(pack.values[e]);
    }
    Pack<T, width> sum;
#pragma unroll
    for (int e = 0; e < width; ++e) sum.values[e] = narrow<T>(total[e]);
    store_pack(dx + i * width, sum);
  }
}

template <class T, int width, bool wide>
void unpad(PadPlan plan, int64_t mode, const View& dy, View& dx) {
  use_units(plan, width);
  const int64_t count = dx.numel() / width;
  launch("pad_backward", unpad_kernel<T, width, wide>, stream_grid(count), dy.as<T>(), dx.as<T>(),
         count, PadWalk<wide>(plan, mode, false));
}

}  // namespace

void pad_forward(const View& x, const Shape& before, int64_t mode, double value, View& y) {
  check_pad_forward(x, before, mode, y);
  PadPlan plan = plan_pad(x.shape, before, mode, y.shape);
  if (y.numel() == 0) return;
  const int64_t bytes = dtype_size(x.dtype);
  const PadAxis inner = plan.axis[plan.rank - 1];
  int64_t unit = bytes;  // mirrored elements move one by one
  if (mode == pad_constant || inner.n == inner.m)
    unit = widest_unit(
        {address(x.data), address(y.data), inner.n * bytes, inner.m * bytes, inner.before * bytes});
  use_units(plan, unit / bytes);
  const int64_t count = y.bytes() / unit;
  alignas(16) unsigned char pattern[16];
  dispatch_all(x.dtype, [&]<class T>() {
    const T stored = convert<T>(value);
    for (size_t at = 0; at < sizeof(pattern); at += sizeof(T))
      std::memcpy(pattern + at, &stored, sizeof(T));
  });
  dispatch_unit(unit, [&]<class Unit>() {
    Unit constant;
    std::memcpy(&constant, pattern, sizeof(Unit));
    dispatch_wide(std::max(count, x.numel()), [&]<bool wide>() {
      launch("pad_forward", pad_kernel<Unit, wide>, batched_grid(count), x.as<Unit>(), y.as<Unit>(),
             count, PadWalk<wide>(plan, mode, true), constant);
    });
  });
}

void pad_backward(const View& dy, const Shape& before, int64_t mode, View& dx) {
  check_pad_backward(dy, before, mode, dx);
  const PadPlan plan = plan_pad(dx.shape, before, mode, dy.shape);
  if (dx.numel() == 0) return;
  const PadAxis inner = plan.axis[plan.rank - 1];
  dispatch_float(dx.dtype, "pad_backward", [&]<class T>() {
    constexpr int width = 16 / sizeof(T);
    const bool packs = inner.n == inner.m && inner.n % width == 0 && vectors(dy.data, dx.data);
    if (is_wide(dy.numel())) return unpad<T, 1, true>(plan, mode, dy, dx);
    if (packs) return unpad<T, width, false>(plan, mode, dy, dx);
    unpad<T, 1, false>(plan, mode, dy, dx);
  });
}

}  // namespace emulsion::cuda
