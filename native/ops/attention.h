// Scaled dot-product attention, tiled: the T x S matrix of weights never exists.
//
//   P[n,k,t,s] = exp(scale·q[n,t,k,:]·k[n,s,k,:] - lse[n,k,t]),   y[n,t,k,:] = Σs
//   P[n,k,t,s]·v[n,s,k,:]
//
// q, y: [N, T, K, D]; k, v: [N, S, K, D]; all of one floating dtype. N batch, T queries, S keys,
// K heads, D head size; any extents, S >= 1.
// mask (optional): [N, S], bool or uint8; zero leaves the key out. Where a batch entry's keys are
// all left out the weights are uniform, 1/S, as if every score were the most negative finite
// number; no gradient reaches q and k there. lse: [N, K, T], log Σs exp(score); float32, or float64
// for float64 tensors. The backward pass recomputes P from it.
//
// Backward, with g = dy and delta[t] = g[t]·y[t]:
//   dv[s] = Σt P[t,s]·g[t],   dS[t,s] = P[t,s]·(g[t]·v[s] - delta[t]),
//   dq[t] = scale·Σs dS[t,s]·k[s],   dk[s] = scale·Σt dS[t,s]·q[t].
// dq, dk, dv are optional: what is absent is not computed.
//
// No output may overlap an input. Every output element is summed in one fixed order: the bits
// depend neither on timing nor on the number of threads.
#pragma once

#include "ops/kernels.h"

EMULSION_KERNELS(void attention_forward(const View& q, const View& k, const View& v,
                                        const View& mask, double scale, View& y, View& lse);
                 void attention_backward(const View& dy, const View& q, const View& k,
                                         const View& v, const View& mask, const View& y,
                                         const View& lse, double scale, View& dq, View& dk,
                                         View& dv);)
