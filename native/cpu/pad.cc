// Padding on the CPU. Everything after the last padded axis is one contiguous unit, so that NHWC
// images are padded in memcpy runs of whole rows. The gradient of the mirroring modes is gathered:
// each input element adds up its places in the output, and no two threads write to one element.
#include "ops/pad.h"

#include "cpu/parallel.h"
#include "cpu/simd.h"
#include "cpu/width.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

constexpr int64_t grain_elements = 16384;

int64_t rows_per_range(int64_t row_elements) {
  return row_elements >= grain_elements ? 1 : grain_elements / (row_elements + 1) + 1;
}

// One axis of a pad: n elements become m, the first at position before.
struct PadAxis {
  int64_t n, m, before;

  // The element that place o of the padded axis shows, or -1 for the constant.
  EMULSION_INLINE int64_t source(int64_t o, int64_t mode) const {
    int64_t i = o - before;
    if (i >= 0 && i < n) return i;
    if (mode == pad_constant) return -1;
    if (mode == pad_replicate) return i < 0 ? 0 : n - 1;
    i = i < 0 ? -i : i;
    return i < n ? i : 2 * (n - 1) - i;
  }

  // All places that show element i: `count` of them, the k-th is place(i, k).
  EMULSION_INLINE int64_t count(int64_t i, int64_t mode) const {
    if (mode == pad_replicate) return 1 + (i == 0 ? before : 0) + (i == n - 1 ? m - n - before : 0);
    return 1 + reflected_before(i) + reflected_after(i);
  }
  EMULSION_INLINE int64_t place(int64_t i, int64_t k, int64_t mode) const {
    if (mode == pad_replicate) return (i == 0 ? 0 : before + i) + k;
    if (k == 0) return before + i;
    return k == 1 && reflected_before(i) ? before - i : before + 2 * (n - 1) - i;
  }

 private:
  EMULSION_INLINE bool reflected_before(int64_t i) const { return i >= 1 && i <= before; }
  EMULSION_INLINE bool reflected_after(int64_t i) const {
    return i < n - 1 && before + 2 * (n - 1) - i < m;
  }
};

// The padded axes; everything after the last of them is one contiguous unit.
struct PadPlan {
  int rank = 0;  // number of axes up to the last padded one
  PadAxis axis[Shape::max_rank];
  int64_t unit = 1;
};

PadPlan plan_pad(const Shape& x, const Shape& before, const Shape& y) {
  PadPlan plan;
  for (int k = 0; k < x.rank(); ++k) {
    plan.axis[k] = {x[k], y[k], before[k]};
    if (y[k] != x[k]) plan.rank = k + 1;
  }
  plan.unit = x.product(plan.rank, x.rank());
  return plan;
}

template <class T>
EMULSION_INLINE void fill(T* to, int64_t count, T value) {
  for (int64_t i = 0; i < count; ++i) to[i] = value;
}

template <class T>
void pad_rows(const PadPlan& plan, int64_t mode, const T* x, T value, T* y) {
  const int last = plan.rank - 1;
  const PadAxis& along = plan.axis[last];
  const int64_t unit = plan.unit, y_row = along.m * unit, x_row = along.n * unit;
  int64_t rows = 1;
  for (int k = 0; k < last; ++k) rows *= plan.axis[k].m;
  parallel_for(rows, rows_per_range(y_row), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t rest = row, from = 0, scale = 1;
      bool inside = true;
      for (int k = last - 1; k >= 0; --k) {
        const int64_t i = plan.axis[k].source(rest % plan.axis[k].m, mode);
        rest /= plan.axis[k].m;
        inside = inside && i >= 0;
        from += i * scale;
        scale *= plan.axis[k].n;
      }
      T* to = y + row * y_row;
      if (!inside) {
        fill(to, y_row, value);
        continue;
      }
      const T* source = x + from * x_row;
      const int64_t middle = along.before + along.n;
      std::memcpy(to + along.before * unit, source, static_cast<size_t>(x_row) * sizeof(T));
      if (mode == pad_constant) {
        fill(to, along.before * unit, value);
        fill(to + middle * unit, y_row - middle * unit, value);
        continue;
      }
      for (int64_t o = 0; o < along.before; ++o)
        std::memcpy(to + o * unit, source + along.source(o, mode) * unit,
                    static_cast<size_t>(unit) * sizeof(T));
      for (int64_t o = middle; o < along.m; ++o)
        std::memcpy(to + o * unit, source + along.source(o, mode) * unit,
                    static_cast<size_t>(unit) * sizeof(T));
    }
  });
}

// One element of the padded axes (a unit of dx) gathers all its places in dy, in row-major order of
// k.
template <class T>
void gather_pad_gradient(const PadPlan& plan, int64_t mode, const T* dy, T* dx) {
  using Acc = Accumulator<T>;
  const int64_t unit = plan.unit;
  int64_t elements = 1;
  for (int k = 0; k < plan.rank; ++k) elements *= plan.axis[k].n;
  parallel_for(elements, rows_per_range(unit), [&](int64_t begin, int64_t end) {
    Acc* total = scratch<Acc>(0, unit);
    for (int64_t element = begin; element < end; ++element) {
      int64_t at[Shape::max_rank], count[Shape::max_rank], k_of[Shape::max_rank] = {};
      int64_t rest = element, places = 1;
      for (int k = plan.rank - 1; k >= 0; --k) {
        at[k] = rest % plan.axis[k].n;
        rest /= plan.axis[k].n;
        count[k] = plan.axis[k].count(at[k], mode);
        places *= count[k];
      }
      for (int64_t place = 0; place < places; ++place) {
        int64_t from = 0;
        for (int k = 0; k < plan.rank; ++k)
          from = from * plan.axis[k].m + plan.axis[k].place(at[k], k_of[k], mode);
        const T* source = dy + from * unit;
        for (int64_t i = 0; i < unit; ++i)
          total[i] = place == 0 ? convert<Acc>(source[i]) : total[i] + convert<Acc>(source[i]);
        for (int k = plan.rank - 1; k >= 0; --k) {
          if (++k_of[k] < count[k]) break;
          k_of[k] = 0;
        }
      }
      for (int64_t i = 0; i < unit; ++i) dx[element * unit + i] = convert<T>(total[i]);
    }
  });
}

}  // namespace

void pad_forward(const View& x, const Shape& before, int64_t mode, double value, View& y) {
  check_pad_forward(x, before, mode, y);
  const PadPlan plan = plan_pad(x.shape, before, y.shape);
  if (y.numel() == 0) return;
  if (plan.rank == 0) {
    std::memcpy(y.data, x.data, static_cast<size_t>(x.bytes()));
    return;
  }
  uint64_t pattern = 0;
  dispatch_all(x.dtype, [&]<class T>() {
    const T stored = convert<T>(value);
    std::memcpy(&pattern, &stored, sizeof(T));
  });
  dispatch_width(x.dtype, [&]<class T>() {
    pad_rows(plan, mode, x.as<T>(), static_cast<T>(pattern), y.as<T>());
  });
}

void pad_backward(const View& dy, const Shape& before, int64_t mode, View& dx) {
  check_pad_backward(dy, before, mode, dx);
  const PadPlan plan = plan_pad(dx.shape, before, dy.shape);
  if (dx.numel() == 0) return;
  dispatch_floating(dx.dtype, "pad_backward",
                    [&]<class T>() { gather_pad_gradient(plan, mode, dy.as<T>(), dx.as<T>()); });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
