// The backward pass of attention: keys in the lanes, five products per tile. A task owns keys and
// so dK and dV; what it adds to dQ goes to a share of its own, and the shares are added in order.
// Where keys are few (a text) tasks own queries and so dQ, and have shares of dK and dV.
#include <cmath>

#include "cpu/attention_products.h"
#include "cpu/math.h"
#include "ops/attention.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

using namespace attention_tile;

// delta[n][k][t] = dy·y, what the softmax's gradient subtracts.
template <class Stored>
void row_products(const View& dy, const View& y, const Sizes& sizes, Accumulator<Stored>* delta) {
  using T = Accumulator<Stored>;
  using V = Vec<T>;
  parallel_for(sizes.N * sizes.T, 1 + 16384 / (1 + sizes.K * sizes.D),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i)
                   for (int64_t head = 0; head < sizes.K; ++head) {
                     const Stored* a = dy.as<Stored>() + (i * sizes.K + head) * sizes.D;
                     const Stored* b = y.as<Stored>() + (i * sizes.K + head) * sizes.D;
                     V products = V::zero();
                     int64_t d = 0;
                     for (; d + V::size <= sizes.D; d += V::size)
                       products = fma(V::load(a + d), V::load(b + d), products);
                     T result = sum(products);
                     for (; d < sizes.D; ++d) result += convert<T>(a[d]) * convert<T>(b[d]);
                     delta[(i / sizes.T * sizes.K + head) * sizes.T + i % sizes.T] = result;
                   }
               });
}

// Gradients of a panel list of keys, [D][lanes] each, to where the keys are.
template <class Stored>
void write_key_gradients(const Sizes& sizes, int64_t n, int64_t head, const RowList& keys,
                         Accumulator<Stored> factor, const Accumulator<Stored>* key_grad,
                         const Accumulator<Stored>* value_grad, View& dk, View& dv) {
  using T = Accumulator<Stored>;
  constexpr int64_t lanes = panel_lanes<T>;
  const int64_t area = sizes.D * lanes;
  for (int64_t at = 0; at < keys.count; at += lanes, key_grad += area, value_grad += area) {
    const int64_t used = at_most(keys.count - at, lanes);
    const Vec<T> scale(factor), one(T(1));
    if (dk)
      unpack_lanes(key_grad, Head<Stored>(dk, n, head), keys.index + at, used, sizes.D, scale,
                   scale);
    if (dv)
      unpack_lanes(value_grad, Head<Stored>(dv, n, head), keys.index + at, used, sizes.D, one, one);
  }
}

// Sums of the parts that they share, before scaling: of dq, [N·K, parts, T, width], of dk and dv,
// [N·K, parts, 2, panels, D, lanes]. Null if nothing is shared, or no dq is wanted.
template <class T>
struct Shares {
  T* queries;
  T* keys;
};

// How a head is cut for the backward pass: into parts of its keys, each with its own share of dq,
// or of its queries, each with its own share of dk and dv. So the cut depends on shapes alone.
struct Cut {
  int64_t keys, queries;
  int64_t panels;  // of keys at a time; all of them where the queries are cut
  int64_t groups;  // of so many panels in a part of the keys

  Cut(const Sizes& sizes, int64_t lanes, int64_t most) {
    constexpr int64_t tasks_wanted = 64, most_parts = 8, few_keys = 128, least_queries = 128;
    const int64_t all = (sizes.S + lanes - 1) / lanes;
    const int64_t heads = sizes.N * sizes.K > 0 ? sizes.N * sizes.K : 1;
    const int64_t parts = at_most((tasks_wanted + heads - 1) / heads, most_parts);
    const bool few = sizes.S <= few_keys;
    keys = few ? 1 : at_most(parts, all);
    queries = few ? at_most(parts, 1 + sizes.T / least_queries) : 1;
    panels = few ? all : most;
    groups = few ? 1 : (all + keys * panels - 1) / (keys * panels);
  }

  // Whether dq is a sum over parts, or over groups of panels in one part.
  bool shares_queries() const { return keys > 1 || groups > 1; }
};

// Keys in the lanes, queries in tiles.
template <class Stored>
void backward(const View& dy, const View& q, const View& k, const View& v, const Sizes& sizes,
              const Rows& rows, const Accumulator<Stored>* lse, const Accumulator<Stored>* delta,
              double scale, const Cut& cut, int64_t width,
              const Shares<Accumulator<Stored>>& shares, View& dq, View& dk, View& dv) {
  using T = Accumulator<Stored>;
  using V = Vec<T>;
  constexpr int64_t lanes = panel_lanes<T>;
  const int64_t D = sizes.D, area = D * lanes, blocks = (sizes.T + block_rows - 1) / block_rows;
  parallel_tasks(sizes.N * sizes.K * cut.keys * cut.queries, [&](int64_t task) {
    const int64_t key_part = task % cut.keys, query_part = task / cut.keys % cut.queries;
    const int64_t group = task / cut.keys / cut.queries, head = group % sizes.K,
                  n = group / sizes.K;
    const Head<const Stored> queries(q, n, head), grads(dy, n, head), keys(k, n, head),
        values(v, n, head);
    const RowList kept = rows.keys(n), all = rows.queries();
    const int64_t kept_panels = (kept.count + lanes - 1) / lanes;
    const int64_t panel_begin = kept_panels * key_part / cut.keys;
    const int64_t panel_end = kept_panels * (key_part + 1) / cut.keys;
    const int64_t query_begin = blocks * query_part / cut.queries * block_rows;
    const int64_t query_end =
        at_most(blocks * (query_part + 1) / cut.queries * block_rows, sizes.T);
    T* const share = shares.queries ? shares.queries + task * sizes.T * width : nullptr;
    if (share && panel_begin == panel_end) clear(share, sizes.T * width);

    Workspace<T> memory(cut.panels * (4 * area + lanes * width) +
                        block_rows * (2 * (D + lanes) + width));
    T* key = memory.take(cut.panels * area);                // [panels, D, lanes]
    T* value = memory.take(cut.panels * area);              // [panels, D, lanes]
    T* key_grad = memory.take(cut.panels * area);           // [panels, D, lanes]
    T* value_grad = memory.take(cut.panels * area);         // [panels, D, lanes]
    T* key_rows = memory.take(cut.panels * lanes * width);  // [panels, lanes, width]
    T* weights = memory.take(block_rows * lanes);
    T* score_grads = memory.take(block_rows * lanes);
    T* query_copy = memory.take(block_rows * D);
    T* grad_copy = memory.take(block_rows * D);
    T* query_grad = memory.take(block_rows * width);
    if (shares.keys) {
      key_grad = shares.keys + task * 2 * cut.panels * area;
      value_grad = key_grad + cut.panels * area;
    }
    const T factor = rows.uniform(n) ? T(0) : static_cast<T>(scale);
    const Scale<T> scaled(scale, rows.uniform(n));
    const int64_t first = (n * sizes.K + head) * sizes.T;

    for (int64_t begin = panel_begin; begin < panel_end; begin += cut.panels) {
      const int64_t panels = at_most(panel_end - begin, cut.panels);
      const int64_t count = at_most(kept.count - begin * lanes, panels * lanes);
      const int32_t* const index = kept.index + begin * lanes;
      for (int64_t p = 0; p < panels; ++p) {
        const int64_t used = at_most(count - p * lanes, lanes);
        pack_lanes(keys, index + p * lanes, used, D, scaled.sign, key + p * area);
        pack_lanes(values, index + p * lanes, used, D, T(1), value + p * area);
      }
      if (dq) gather_rows(keys, index, count, D, key_rows, width);
      clear(key_grad, panels * area);
      clear(value_grad, panels * area);

      for (int64_t t = query_begin; t < query_end; t += block_rows) {
        const int64_t tile = at_most(query_end - t, block_rows);
        const RowTile<T> query_tile = rows_of(queries, all, t, tile, D, query_copy);
        const RowTile<T> grad_tile = rows_of(grads, all, t, tile, D, grad_copy);
        T* const query_sums = share ? share + t * width : query_grad;
        const int64_t calls = 1 + panels * (D / tile_rows) / 2;
        NextRows<const Stored> next_queries(queries, all, t + tile, block_rows, D, calls);
        NextRows<const Stored> next_grads(grads, all, t + tile, block_rows, D, calls);
        for (int64_t p = 0; p < panels; ++p) {
          const int64_t used = at_most(count - p * lanes, lanes);
          const int64_t filled = used > V::size ? lanes : V::size;  // whole vectors
          dot_rows(tile, query_tile, D, key + p * area, weights, filled);
          dot_rows(tile, grad_tile, D, value + p * area, score_grads, filled);
          for (int64_t row = 0; row < tile; ++row) {
            // In two parts, since its rounding would be in all weights of a query.
            constexpr T high = static_cast<T>(log2_e), low = static_cast<T>(log2_e - high);
            const T natural = lse[first + t + row], rounded = high * natural;
            const V log(rounded), rest(std::fma(low, natural, std::fma(high, natural, -rounded)));
            const V mean(delta[first + t + row]);
            for (int64_t at = row * lanes; at < row * lanes + filled; at += V::size) {
              const V weight = exp2(fma(V::load(weights + at), V(scaled.factor), -log) - rest);
              weight.store(weights + at);
              (weight * (V::load(score_grads + at) - mean)).store(score_grads + at);
            }
          }
          add_weighted_rows<true>(tile, grad_tile, D, weights, value_grad + p * area, filled,
                                  next_grads);
          add_weighted_rows<true>(tile, query_tile, D, score_grads, key_grad + p * area, filled,
                                  next_queries);
          if (!dq) continue;
          const T* const rows_of_keys = key_rows + p * lanes * width;
          if (p > 0 || (share && begin > panel_begin))
            multiply_lanes<true>(tile, used, score_grads, rows_of_keys, width, query_sums);
          else
            multiply_lanes<false>(tile, used, score_grads, rows_of_keys, width, query_sums);
        }
        if (dq && !share)
          for (int64_t row = 0; row < tile; ++row)
            for (int64_t d = 0; d < D; d += V::size)
              store_up_to(V::load(query_grad + row * width + d) * V(factor),
                          Head<Stored>(dq, n, head).row(t + row) + d, D - d);
      }
      if (!shares.keys)
        write_key_gradients<Stored>(sizes, n, head, {index, count, kept.all}, factor, key_grad,
                                    value_grad, dk, dv);
    }
  });
}

// dq = scale · the sum of the parts' shares.
template <class Stored>
void add_query_shares(const Sizes& sizes, const Rows& rows, double scale, int64_t parts,
                      int64_t width, const Accumulator<Stored>* shares, View& dq) {
  using T = Accumulator<Stored>;
  using V = Vec<T>;
  const int64_t heads = sizes.N * sizes.K, D = sizes.D;
  parallel_for(heads * sizes.T, 1 + 16384 / (parts * width + 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t head = i / sizes.T, t = i % sizes.T, n = head / sizes.K;
      const V factor(rows.uniform(n) ? T(0) : static_cast<T>(scale));
      Stored* const to = Head<Stored>(dq, n, head % sizes.K).row(t);
      const T* const from = shares + (head * parts * sizes.T + t) * width;
      for (int64_t d = 0; d < D; d += V::size) {
        V sum = V::load(from + d);
        for (int64_t part = 1; part < parts; ++part)
          sum += V::load(from + part * sizes.T * width + d);
        store_up_to(sum * factor, to + d, D - d);
      }
    }
  });
}

// dk and dv: the sums of the parts' shares.
template <class Stored>
void add_key_shares(const Sizes& sizes, const Rows& rows, double scale, const Cut& cut,
                    Accumulator<Stored>* shares, View& dk, View& dv) {
  using T = Accumulator<Stored>;
  using V = Vec<T>;
  const int64_t size = 2 * cut.panels * sizes.D * panel_lanes<T>;
  parallel_for(sizes.N * sizes.K, 1 + 16384 / (cut.queries * size),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   T* const total = shares + i * cut.queries * size;
                   for (int64_t part = 1; part < cut.queries; ++part)
                     for (int64_t at = 0; at < size; at += V::size)
                       (V::load(total + at) + V::load(total + part * size + at)).store(total + at);
                   const int64_t n = i / sizes.K;
                   write_key_gradients<Stored>(sizes, n, i % sizes.K, rows.keys(n),
                                               rows.uniform(n) ? T(0) : static_cast<T>(scale),
                                               total, total + size / 2, dk, dv);
                 }
               });
}

// Masked keys have no part in the passes above.
void clear_gradient(View& gradient) {
  std::memset(gradient.data, 0, static_cast<size_t>(gradient.bytes()));
}

}  // namespace

void attention_backward(const View& dy, const View& q, const View& k, const View& v,
                        const View& mask, const View& y, const View& lse, double scale, View& dq,
                        View& dk, View& dv) {
  const Sizes sizes = attention_sizes(q, k, v, mask, y, lse, INT32_MAX);
  check_attention_gradients(dy, q, k, v, dq, dk, dv);
  const Rows rows(mask, sizes);
  if (mask && dk) clear_gradient(dk);
  if (mask && dv) clear_gradient(dv);
  dispatch_floating(q.dtype, "attention", [&]<class Stored>() {
    using T = Accumulator<Stored>;
    T* delta = scratch<T>(6, sizes.N * sizes.K * sizes.T);
    const T* logs = lse.as<const T>();
    row_products<Stored>(dy, y, sizes, delta);
    const Cut cut(sizes, panel_lanes<T>, most_panels<T>(sizes.D));
    const int64_t width = (sizes.D + Vec<T>::size - 1) / Vec<T>::size * Vec<T>::size;
    const int64_t heads = sizes.N * sizes.K;
    const Shares<T> shares{
        dq && cut.shares_queries() ? scratch<T>(5, heads * cut.keys * sizes.T * width) : nullptr,
        cut.queries > 1
            ? scratch<T>(5, heads * cut.queries * 2 * cut.panels * sizes.D * panel_lanes<T>)
            : nullptr};
    backward<Stored>(dy, q, k, v, sizes, rows, logs, delta, scale, cut, width, shares, dq, dk, dv);
    if (shares.queries)
      add_query_shares<Stored>(sizes, rows, scale, cut.keys, width, shares.queries, dq);
    if (shares.keys) add_key_shares<Stored>(sizes, rows, scale, cut, shares.keys, dk, dv);
  });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
