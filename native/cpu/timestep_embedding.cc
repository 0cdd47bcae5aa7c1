// A few thousand sines per training step: written for exactness, the frequencies once per call.
#include "ops/timestep_embedding.h"

#include <cmath>

#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

template <class T>
void embed(const View& t, double max_period, bool ddpm, View& y) {
  const int64_t B = y.dim(0), dim = y.dim(1), half = dim / 2;
  T* frequency = scratch<T>(3, half);
  // The order of the roundings is the reference's: ddpm divides before it multiplies by i.
  const T step = static_cast<T>(-std::log(max_period) / static_cast<double>(half - 1));
  const T span = static_cast<T>(-std::log(max_period));
  for (int64_t i = 0; i < half; ++i) {
    const T index = static_cast<T>(i);
    frequency[i] = std::exp(ddpm ? index * step : span * index / static_cast<T>(half));
  }
  T* times = scratch<T>(4, B);
  dispatch_all(t.dtype, [&]<class Stored>() {
    for (int64_t b = 0; b < B; ++b) times[b] = convert<T>(t.as<Stored>()[b]);
  });
  parallel_for(B, 1 + 1024 / dim, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      T* row = y.as<T>() + b * dim;
      T* cosines = ddpm ? row + half : row;
      T* sines = ddpm ? row : row + half;
      for (int64_t i = 0; i < half; ++i) {
        const T phase = times[b] * frequency[i];
        cosines[i] = std::cos(phase);
        sines[i] = std::sin(phase);
      }
      if (dim % 2) row[dim - 1] = T(0);
    }
  });
}

}  // namespace

void timestep_embedding(const View& t, double max_period, bool ddpm, View& y) {
  check_timestep_embedding(t, max_period, ddpm, y);
  if (y.dtype == DType::float64) return embed<double>(t, max_period, ddpm, y);
  embed<float>(t, max_period, ddpm, y);
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
