// GEGLU (Shazeer, "GLU variants improve transformer", 2020): y = value · gelu(gate), the exact
// GELU.
//
//   geglu_forward    x [.., 2C] = value [.., C] beside gate [.., C]  →  y [.., C], plus residual
//                    [.., C] if given
//   geglu_backward   dx [.., 2C] from x and dy [.., C]
//
// Floating dtypes, one for all. Outputs may not overlap inputs. Bandwidth-bound but for the erfc.
#pragma once

#include "ops/kernels.h"

EMULSION_KERNELS(                                                      //
    void geglu_forward(const View& x, const View& residual, View& y);  //
    void geglu_backward(const View& x, const View& dy, View& dx);)
