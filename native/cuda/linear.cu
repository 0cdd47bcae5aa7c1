// Linear layers: gemm.cuh's engine with bias, activation and residual in its epilogue.
//
// x [rows, C] · weightᵀ [C, K]: 2·rows·C·K operations, tensor cores are the roof (float32: FMA
// units); up to four rows (a time embedding) read the weights once at the speed of memory,
// gemm_thin.cuh. Per output element the epilogue reads a residual and writes y and, for the
// backward pass, the argument of the activation.
//
// GEGLU needs column j and column j + K/2 at once: the weight's rows come to the tiles paired, four
// values, their four gates, and so on, and the epilogue works on eight columns.
#include "ops/linear.h"

#include "cuda/activation.cuh"
#include "cuda/columns.cuh"
#include "cuda/gemm_thin.cuh"
#include "ops/geglu.h"

namespace emulsion::cuda {
namespace {

using namespace gemm;

// What both epilogues hold. Null: not given.
template <class T>
struct Outputs {
  const T *bias, *residual;
  T *y, *preactivation;
  int per_row;  // of y
  bool whole;   // whether as many columns as the epilogue takes at a time can be moved at once
  Activation activation;

  Outputs of(int width) const {
    const auto aligned = [&](const T* pointer) { return is_aligned(pointer, width * sizeof(T)); };
    Outputs outputs = *this;
    outputs.whole = per_row % width == 0 && aligned(bias) && aligned(residual) && aligned(y) &&
                    aligned(preactivation);
    return outputs;
  }
};

template <class T, int width_>
struct Finish : Outputs<T> {
  static constexpr int width = width_;
  using Added = Pack<T, width>;

  struct Columns {
    int column, left;
    bool whole;
    Pack<T, width> bias;
  };

  __device__ __forceinline__ int64_t row(int, int row) const {
    return static_cast<int64_t>(row) * this->per_row;
  }
  __device__ __forceinline__ Columns columns(int, int column, int left) const {
    Columns at{column, left, this->whole, {}};
    if (this->bias) at.bias = load_columns<width>(this->bias + column, at.whole, left);
    return at;
  }
  __device__ __forceinline__ Added load(int64_t row, const Columns& at) const {
    if (!this->residual) return {};
    return load_columns<width>(this->residual + row + at.column, at.whole, at.left);
  }
  __device__ __forceinline__ void store(int64_t row, const Columns& at, const Added& residual,
                                        float (&v)[width]) const {
    const int64_t to = row + at.column;
    if (this->bias) add_columns(v, at.bias);
    if (this->preactivation) store_columns(this->preactivation + to, v, at.whole, at.left);
    if (this->activation != Activation::none) [[unlikely]] {
#pragma unroll
      for (float& value : v) value = activate(value, this->activation);
    }
    if (this->residual) add_columns(v, residual);
    store_columns(this->y + to, v, at.whole, at.left);
  }
};

template <class T>
struct FinishPairs : Outputs<T> {
  static constexpr int width = 8;
  using Added = Pack<T, 4>;

  struct Columns {
    int column, left;
    bool whole;
    Pack<T, 4> bias, gate_bias;
  };

  __device__ __forceinline__ int64_t row(int, int row) const {
    return static_cast<int64_t>(row) * this->per_row;
  }
  __device__ __forceinline__ Columns columns(int, int paired, int) const {
    Columns at{paired / 2, this->per_row - paired / 2, this->whole, {}, {}};
    if (this->bias) {
      const T* const from = this->bias + at.column;
      at.bias = load_columns<4>(from, at.whole, at.left);
      at.gate_bias = load_columns<4>(from + this->per_row, at.whole, at.left);
    }
    return at;
  }
  __device__ __forceinline__ Added load(int64_t row, const Columns& at) const {
    if (!this->residual) return {};
    return load_columns<4>(this->residual + row + at.column, at.whole, at.left);
  }
  __device__ __forceinline__ void store(int64_t row, const Columns& at, const Added& residual,
                                        const float (&v)[width]) const {
    float value[4] = {v[0], v[1], v[2], v[3]}, gate[4] = {v[4], v[5], v[6], v[7]};
    if (this->bias) {
      add_columns(value, at.bias);
      add_columns(gate, at.gate_bias);
    }
    T* const keep = this->preactivation + 2 * row + at.column;
    store_columns(keep, value, at.whole, at.left);
    store_columns(keep + this->per_row, gate, at.whole, at.left);
#pragma unroll
    for (int e = 0; e < 4; ++e) value[e] *= gelu(gate[e]);
    if (this->residual) add_columns(value, residual);
    store_columns(this->y + row + at.column, value, at.whole, at.left);
  }
};

// A loader of the weight's rows in the order of FinishPairs.
template <class T, int width_>
struct PairedRows {
  using Element = T;
  static constexpr bool deep = true;
  static constexpr int width = width_;

  Matrix<T, true, width> weight;
  int half;

  // Rows of values and of gates alternate in fours.
  using Found = Boxes<Lines::paired>;
  std::optional<Found> boxes(int along, int across) const {
    if (half % 4 != 0) return {};
    constexpr int64_t size = sizeof(T);
    const int64_t line = weight.pitch * size;
    return Found{weight.data,
                 {4,
                  {weight.depth, 4, 2, half / 4},
                  {size, line, half * line, 4 * line},
                  {along, 4, 2, across / 8},
                  static_cast<int>(along * size)},
                 false};
  }

  __device__ __forceinline__ int source_row(int paired) const {
    const int row = paired / 8 * 4 + paired % 4;
    return row >= half ? weight.rows : paired & 4 ? row + half : row;
  }
  __device__ __forceinline__ const T* line(int batch, int paired) const {
    return weight.line(batch, source_row(paired));
  }

  template <int slots>
  class Cursor {
   public:
    __device__ __forceinline__ Cursor(const PairedRows& rows, int batch, int first_row, int first_k)
        : rows_(rows), first_row_(first_row), inner_(rows.weight, batch, 0, first_k) {}
    __device__ __forceinline__ void place(int slot, int row, int k) {
      inner_.place(slot, rows_.source_row(first_row_ + row), k);
    }
    __device__ __forceinline__ Source<T> source(int slot) const { return inner_.source(slot); }
    __device__ __forceinline__ void advance(int depth) { inner_.advance(depth); }

   private:
    const PairedRows& rows_;
    const int first_row_;
    typename Matrix<T, true, width>::template Cursor<slots> inner_;
  };
};

template <class T, int width>
void run(const View& x, const View& weight, const Outputs<T>& outputs) {
  const int64_t K = weight.dim(0), C = weight.dim(1), rows = x.shape.product(0, x.rank() - 1);
  const bool paired = outputs.activation == Activation::geglu;
  const Problem problem{rows, paired ? 8 * ceil_div(K / 2, 4) : K, C};
  check_extents("linear", problem);
  const Matrix<T, true, width> a{x.as<T>(), C, static_cast<int>(rows), static_cast<int>(C), {}},
      b{weight.as<T>(), C, static_cast<int>(K), static_cast<int>(C), {}};
  const auto with = [&](const auto& operand, const auto& finish, const auto& thin_finish) {
    if (rows <= few)
      multiply_thin("linear", a, operand, thin_finish, problem);
    else
      multiply("linear", a, operand, finish, problem);
  };
  constexpr int wide = 16 / sizeof(T);
  if (const FinishPairs<T> pairs{outputs.of(4)}; paired)
    with(PairedRows<T, width>{b, static_cast<int>(K / 2)}, pairs, pairs);
  else
    with(b, Finish<T, wide>{outputs.of(wide)}, Finish<T, few>{outputs.of(few)});
}

template <class T, int width>
__global__ void activation_kernel(const T* dy, const T* x, T* dx, int64_t count,
                                  Activation activation) {
  for (int64_t i = grid_thread() * width; i < count; i += grid_threads() * width) {
    if (width == 1 || i + width <= count) {
      const auto at = load_pack<T, width>(x + i);
      auto pack = load_pack<T, width>(dy + i);
#pragma unroll
      for (int e = 0; e < width; ++e)
        pack.values[e] =
            narrow<T>(widen(pack.values[e]) * activation_slope(widen(at.values[e]), activation));
      store_pack(dx + i, pack);
    } else {
      for (int64_t j = i; j < count; ++j)
        dx[j] = narrow<T>(widen(dy[j]) * activation_slope(widen(x[j]), activation));
    }
  }
}

}  // namespace

void linear_forward(const View& x, const View& weight, const View& bias, const View& residual,
                    int64_t activation, View& y, View& preactivation) {
  const Activation act = checked_linear(x, weight, bias, residual, activation, y, preactivation);
  const int64_t K = weight.dim(0), columns = act == Activation::geglu ? K / 2 : K;
  if (y.numel() == 0) return;
  dispatch_float(x.dtype, "linear_forward", [&]<class T>() {
    const auto of = [](const View& view) { return view ? view.as<T>() : nullptr; };
    const Outputs<T> outputs{
        of(bias), of(residual), of(y), of(preactivation), static_cast<int>(columns), false, act};
    constexpr int chunk = 16 / sizeof(T);
    if (vectors(x.data, weight.data) && weight.dim(1) % chunk == 0)
      run<T, chunk>(x, weight, outputs);
    else
      run<T, 1>(x, weight, outputs);
  });
}

void activation_backward(const View& dy, const View& x, int64_t activation, View& dx) {
  const Activation act = checked_activation_backward(dy, x, activation, dx);
  if (dx.numel() == 0) return;
  if (act == Activation::geglu) return geglu_backward(x, dy, dx);
  dispatch_float(dx.dtype, "activation_backward", [&]<class T>() {
    constexpr int width = 16 / sizeof(T);
    const int64_t count = dx.numel();
    if (vectors(dy.data, x.data, dx.data))
      launch("activation_backward", activation_kernel<T, width>,
             stream_grid(ceil_div(count, width)), dy.as<T>(), x.as<T>(), dx.as<T>(), count, act);
    else
      launch("activation_backward", activation_kernel<T, 1>, stream_grid(count), dy.as<T>(),
             x.as<T>(), dx.as<T>(), count, act);
  });
}

}  // namespace emulsion::cuda
