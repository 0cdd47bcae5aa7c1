// The machine's own limits, measured by the engine's threads and instruction set: what benchmarks
// divide by. y: float64 [1].
//   measure_flops      y = floating-point operations per second of independent fused multiply-adds
//   measure_bandwidth  y = bytes read plus written per second of a copy of `bytes` bytes
#pragma once

#include "ops/kernels.h"

EMULSION_KERNELS(void measure_flops(double seconds, View& y);
                 void measure_bandwidth(int64_t bytes, int64_t repeats, View& y);)
