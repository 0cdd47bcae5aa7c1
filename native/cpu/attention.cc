// Attention by tiles with online softmax (FlashAttention-2, Dao 2023), rearranged for a CPU.
//
// Queries live in the vector lanes. A task owns up to four panels of 2 vectors of queries, stored
// [D][lanes], and walks the keys in tiles of some 64 rows. Then
//   - the scores of a tile are S[key][lane] = k[key]·Q[:][lane], and the output is
//     O[d][lane] += Σkey v[key][d]·P[key][lane]: two products with the same register tile, which
//     read keys and values as they lie in memory (broadcasts), so nothing is packed per tile;
//   - maximum, exponential and sum over keys are vertical: no shuffles, no horizontal reductions.
// This is why it does not go through the general GEMM: that would pack every tile of K, V and P.
//
// Bound by FMA throughput for D >= 64, by the exponentials below that.
#include "ops/attention.h"

#include "cpu/attention_products.h"
#include "cpu/math.h"

namespace emulsion::cpu::EMULSION_LEVEL {
namespace {

using namespace attention_tile;

// What callers see, lse, is to base e.
constexpr double ln_2 = 0.69314718055994531;

template <class T>
constexpr T lowest =
    __is_same(T, double) ? static_cast<T>(-__DBL_MAX__) : static_cast<T>(-__FLT_MAX__);

// Products of queries and further keys become weights relative to the running maximum; what was
// summed before, if anything, is scaled down where the maximum rose.
template <class T>
void online_softmax(T* scores, int64_t rows, Vec<T> factor, T* maximum, T* total, T* output,
                    int64_t D, bool first) {
  using V = Vec<T>;
  constexpr int64_t lanes = panel_lanes<T>;
  V top[2], shrink[2], added[2] = {V::zero(), V::zero()};
  // Two rows at a time: each maximum waits for the one before.
  V other[2];
  for (int half = 0; half < 2; ++half) top[half] = other[half] = V(lowest<T>);
  for (int64_t row = 0; row < rows; row += 2) {
    const int64_t next = row + 1 < rows ? row + 1 : row;
    for (int half = 0; half < 2; ++half) {
      top[half] = max(top[half], V::load(scores + row * lanes + half * V::size));
      other[half] = max(other[half], V::load(scores + next * lanes + half * V::size));
    }
  }
  bool rises = false;
  for (int half = 0; half < 2; ++half) {
    const V before = V::load(maximum + half * V::size);
    top[half] = max(before, max(top[half], other[half]) * factor);
    shrink[half] = exp2(before - top[half]);
    rises |= any(before < top[half]);
    top[half].store(maximum + half * V::size);
  }
  for (int64_t row = 0; row < rows; ++row)
    for (int half = 0; half < 2; ++half) {
      T* at = scores + row * lanes + half * V::size;
      const V weight = exp2(fma(V::load(at), factor, -top[half]));
      weight.store(at);
      added[half] += weight;
    }
  for (int half = 0; half < 2; ++half)
    fma(V::load(total + half * V::size), shrink[half], added[half]).store(total + half * V::size);
  if (rises && !first)
    scale_lanes(output, D, shrink[0], shrink[1]);  // rare after the first few tiles
}

// How a sequence is cut into tasks: fewer panels each where there are few heads. The cut does not
// change any sum, so it may depend on the number of threads.
struct Tasks {
  int64_t rows, blocks, count;

  Tasks(const Sizes& sizes, int64_t length, int64_t lanes, int64_t panels) {
    do {
      rows = panels * lanes;
      blocks = (length + rows - 1) / rows;
      count = sizes.N * sizes.K * blocks;
      panels /= 2;
    } while (panels > 0 && count < 4 * num_threads());
  }
};

// Calls body(n, head, begin, end) for every block of every head's rows. Heads take turns: their
// rows share cache lines.
template <class T, class Body>
void for_each_block(const Sizes& sizes, int64_t length, Body&& body) {
  const Tasks tasks(sizes, length, panel_lanes<T>, most_panels<T>(sizes.D));
  parallel_tasks(tasks.count, [&](int64_t task) {
    const int64_t head = task % sizes.K, n = task / sizes.K / tasks.blocks;
    const int64_t begin = task / sizes.K % tasks.blocks * tasks.rows;
    const int64_t end = begin + tasks.rows < length ? begin + tasks.rows : length;
    body(n, head, begin, end);
  });
}

// What follows a block of a head's queries, for the processor to fetch meanwhile: the head's next
// block, of the next sequence if need be. The other heads come first, and it is there by then. Of
// the last sequence it is the next head's.
struct Successor {
  int64_t n, head, begin;
  bool exists, new_keys;
};
Successor successor(const Sizes& sizes, int64_t n, int64_t head, int64_t begin, int64_t end) {
  if (end < sizes.T) return {n, head, end, true, false};
  if (n + 1 < sizes.N) return {n + 1, head, 0, true, true};
  const bool exists = head + 1 < sizes.K;
  return {n, exists ? head + 1 : head, begin, exists, exists && begin == 0};
}

template <class Stored>
void forward(const View& q, const View& k, const View& v, const Sizes& sizes, const Rows& rows,
             double scale, View& y, View& lse) {
  using T = Accumulator<Stored>;
  using V = Vec<T>;
  constexpr int64_t lanes = panel_lanes<T>;
  const int64_t D = sizes.D, area = D * lanes;
  for_each_block<T>(sizes, sizes.T, [&](int64_t n, int64_t head, int64_t begin, int64_t end) {
    const Head<const Stored> queries(q, n, head), keys(k, n, head), values(v, n, head);
    const Head<Stored> outputs(y, n, head);
    const RowList kept = rows.keys(n);
    const int32_t* index = rows.queries().index + begin;
    const int64_t count = end - begin, panels = (count + lanes - 1) / lanes;

    // Tiles of keys are about as high as each other: one of a few keys takes as long as of many.
    const int64_t tiles = kept.count < block_rows ? 1 : (kept.count + block_rows / 2) / block_rows;
    const int64_t height = (kept.count + tiles - 1) / tiles;  // less than 1.5 block_rows

    Workspace<T> memory(2 * panels * (area + lanes) + height * (2 * D + lanes));
    T* query = memory.take(panels * area);   // [panels, D, lanes]
    T* output = memory.take(panels * area);  // likewise; the first tile of keys sets it
    T* maximum = memory.take(panels * lanes);
    T* total = memory.take(panels * lanes);
    T* weights = memory.take(height * lanes);
    T* key_copy = memory.take(height * D);
    T* value_copy = memory.take(height * D);

    const Scale<T> scaled(scale, rows.uniform(n));
    for (int64_t p = 0; p < panels; ++p)
      pack_lanes(queries, index + p * lanes, at_most(count - p * lanes, lanes), D, scaled.sign,
                 query + p * area);
    clear(total, panels * lanes);
    for (int64_t i = 0; i < panels * lanes; ++i) maximum[i] = lowest<T>;

    // What follows, and where the results of this task go.
    const int64_t all_calls = 1 + tiles * panels * (D / tile_rows);
    const Successor next = successor(sizes, n, head, begin, end);
    NextRows<const Stored> next_panels;
    if (next.exists)
      next_panels = {{q, next.n, next.head}, rows.queries(), next.begin, count, D, all_calls};
    NextRows<Stored, true> next_outputs(outputs, rows.queries(), begin, count, D, all_calls);
    for (int64_t s = 0; s < kept.count; s += height) {
      const int64_t tile = at_most(kept.count - s, height);
      const RowTile<T> key_rows = rows_of(keys, kept, s, tile, D, key_copy);
      const RowTile<T> value_rows = rows_of(values, kept, s, tile, D, value_copy);
      const int64_t calls = 1 + panels * (D / tile_rows) / 2;
      const auto following = [&](const View& view) -> NextRows<const Stored> {
        if (s + tile < kept.count) return {{view, n, head}, kept, s + tile, height, D, calls};
        if (!next.new_keys) return {};
        return {{view, next.n, next.head}, rows.keys(next.n), 0, height, D, calls};
      };
      auto next_keys = following(k), next_values = following(v);
      for (int64_t p = 0; p < panels; ++p) {
        dot_rows(tile, key_rows, D, query + p * area, weights, lanes);
        online_softmax(weights, tile, V(scaled.factor), maximum + p * lanes, total + p * lanes,
                       output + p * area, D, s == 0);
        const auto beside = [&] { next_keys(), next_values(), next_panels(), next_outputs(); };
        if (s == 0)
          add_weighted_rows<false>(tile, value_rows, D, weights, output + p * area, lanes, beside);
        else
          add_weighted_rows<true>(tile, value_rows, D, weights, output + p * area, lanes, beside);
      }
    }

    T* logs = lse.as<T>() + (n * sizes.K + head) * sizes.T + begin;
    for (int64_t i = 0; i < count; i += V::size)
      store_up_to(fma(V(static_cast<T>(ln_2)), V::load(maximum + i), log(V::load(total + i))),
                  logs + i, count - i);
    for (int64_t p = 0; p < panels; ++p) {
      const T* sums = total + p * lanes;
      unpack_lanes(output + p * area, outputs, index + p * lanes, at_most(count - p * lanes, lanes),
                   D, V(1) / V::load(sums), V(1) / V::load(sums + V::size));
    }
  });
}

}  // namespace

void attention_forward(const View& q, const View& k, const View& v, const View& mask, double scale,
                       View& y, View& lse) {
  const Sizes sizes = attention_sizes(q, k, v, mask, y, lse, INT32_MAX);
  const Rows rows(mask, sizes);
  dispatch_floating(q.dtype, "attention",
                    [&]<class Stored>() { forward<Stored>(q, k, v, sizes, rows, scale, y, lse); });
}

}  // namespace emulsion::cpu::EMULSION_LEVEL
