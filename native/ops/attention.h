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

#include "ops/checks.h"

EMULSION_KERNELS(void attention_forward(const View& q, const View& k, const View& v,
                                        const View& mask, double scale, View& y, View& lse);
                 void attention_backward(const View& dy, const View& q, const View& k,
                                         const View& v, const View& mask, const View& y,
                                         const View& lse, double scale, View& dq, View& dk,
                                         View& dv);)

namespace emulsion {

struct AttentionSizes {
  int64_t N, T, S, K, D;
};

// longest: the most queries or keys of a sequence that the engine can count.
static inline AttentionSizes attention_sizes(const View& q, const View& k, const View& v,
                                             const View& mask, const View& y, const View& lse,
                                             int64_t longest) {
  EMULSION_CHECK(q && k && v && y && lse, "attention: q, k, v, y and lse are required");
  EMULSION_CHECK(q.rank() == 4 && k.rank() == 4,
                 "attention: q and k must be [N, T, K, D] and [N, S, K, D], got ", q.shape, " and ",
                 k.shape);
  const AttentionSizes sizes{q.dim(0), q.dim(1), k.dim(1), q.dim(2), q.dim(3)};
  EMULSION_CHECK(k.shape == Shape({sizes.N, sizes.S, sizes.K, sizes.D}) && v.shape == k.shape,
                 "attention: k and v must be [N, S, K, D] like q ", q.shape, ", got ", k.shape,
                 " and ", v.shape);
  EMULSION_CHECK(y.shape == q.shape && lse.shape == Shape({sizes.N, sizes.K, sizes.T}),
                 "attention: y and lse have shapes ", y.shape, " and ", lse.shape);
  EMULSION_CHECK(k.dtype == q.dtype && v.dtype == q.dtype && y.dtype == q.dtype,
                 "attention: q, k, v and y must have one dtype");
  EMULSION_CHECK(lse.dtype == accumulator_dtype(q.dtype), "attention: lse has dtype ",
                 dtype_name(lse.dtype));
  EMULSION_CHECK(sizes.S >= 1, "attention: there must be at least one key");
  EMULSION_CHECK(sizes.T <= longest && sizes.S <= longest, "attention: a sequence is too long");
  if (mask)
    EMULSION_CHECK(mask.shape == Shape({sizes.N, sizes.S}) &&
                       (mask.dtype == DType::boolean || mask.dtype == DType::uint8),
                   "attention: mask must be bool or uint8 [N, S], got ", dtype_name(mask.dtype),
                   " ", mask.shape);
  return sizes;
}

static inline void check_attention_gradients(const View& dy, const View& q, const View& k,
                                             const View& v, const View& dq, const View& dk,
                                             const View& dv) {
  EMULSION_CHECK(dy && alike(dy, q), "attention: dy must be like q");
  EMULSION_CHECK(absent_or_alike(dq, q), "attention: dq must be like q");
  EMULSION_CHECK(absent_or_alike(dk, k), "attention: dk must be like k");
  EMULSION_CHECK(absent_or_alike(dv, v), "attention: dv must be like v");
}

}  // namespace emulsion
