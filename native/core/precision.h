// How float32 matrix products may be computed, for the whole process.
#pragma once

namespace emulsion {

// Whether a GPU may round the operands of float32 products to TF32's ten bits of mantissa. Off at
// the start.
bool tf32_allowed();
void allow_tf32(bool allowed);

}  // namespace emulsion
