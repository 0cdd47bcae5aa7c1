// Every pass of attention for heads of any size and for float32: one kernel, whose products are an
// engine of attention_engine.cuh.
//
// A block owns 64 rows and a slab of the columns of one output, and walks the other side in tiles:
//   pass         rows     scores   weights                   sums += weights ·
//   forward      queries  q·k'     online softmax            v
//   query_grad   queries  q·k'     P∘(dy·v' - delta)         k
//   key_grad     keys     k·q'     P'∘(v·dy' - delta)        q
//   value_grad   keys     k·q'     P'                        dy
// Both factors of a product arrive in chunks through one ring of buffers, so shared memory does not
// grow with D. Where an output is wider than a slab, the scores are made once per slab: at D = 512
// and 16 bits one slab holds all. The roof is arithmetic: 4·T·S·D operations forward and 16·T·S·D
// backward, where 10 would do if scores were not made again for each gradient (their sums together
// do not fit the registers).
//
// Few rows and a long other side: the other side is cut into parts of the grid. Gradients' parts
// are added by sum_parts; the forward pass leaves a normalised output and a log-sum-exp per part
// for merge_parts.
#pragma once

#include "cuda/attention_backward.cuh"
#include "cuda/attention_engine.cuh"

namespace emulsion::cuda::attention {

enum class Pass { forward, query_grad, key_grad, value_grad };

// The grid of a wide pass.
struct WideCut {
  Cut cut;
  int slabs, width;
};

template <class Engine, Pass pass>
__global__ __launch_bounds__(Engine::threads, Engine::blocks_per_sm) void wide_kernel(
    Inputs<typename Engine::Stored> in, WideCut grid, typename Engine::Stored* out, float* lse,
    Shares shares) {
  using Stored = typename Engine::Stored;
  using Scores = typename Engine::Scores;
  constexpr bool over_keys = pass == Pass::key_grad || pass == Pass::value_grad;
  constexpr bool two = pass == Pass::query_grad || pass == Pass::key_grad;
  constexpr int row_count = Engine::row_count, column_count = Engine::column_count;
  int index = static_cast<int>(blockIdx.x);
  const int block = index % grid.cut.blocks;
  const int slab = (index /= grid.cut.blocks) % grid.slabs;
  const int part = (index /= grid.slabs) % grid.cut.parts;
  const int sequence = index / grid.cut.parts;  // of N * K
  const int n = sequence / in.K, head = sequence % in.K;
  const int first = block * Engine::rows, slab_first = slab * grid.width;
  const int count = over_keys ? in.S : in.T, others = over_keys ? in.T : in.S;
  const int part_begin = part * grid.cut.length;
  const int part_end = ::min(part_begin + grid.cut.length, others);
  const int64_t statistics = static_cast<int64_t>(sequence) * in.T;

  const auto left = [&](bool second) {
    const Stored* const of_keys = second ? in.v : in.k;
    const Stored* const of_queries = second ? in.dy : in.q;
    return Rows<const Stored>(over_keys ? of_keys : of_queries, n, head, count, in);
  };
  const auto right = [&](bool second) {
    const Stored* const of_keys = second ? in.v : in.k;
    const Stored* const of_queries = second ? in.dy : in.q;
    return Rows<const Stored>(over_keys ? of_queries : of_keys, n, head, others, in);
  };
  Rows<const Stored> values = right(pass == Pass::forward || pass == Pass::value_grad);
  values.size = ::min(in.D, slab_first + grid.width);

  // Chunks in the order of their use: scores, second product, values, tile by tile.
  constexpr int value_steps = Engine::columns / Engine::chunk;
  const int depth_steps = (in.D + Engine::depth - 1) / Engine::depth;
  const int steps = depth_steps * (two ? 2 : 1) + value_steps;
  int next_tile = part_begin, next_step = 0, next_stage = 0, stage = 0;
  const auto fetch = [&] {
    if (next_tile < part_end) {
      unsigned char* const to = dynamic_shared() + next_stage * Engine::stage_bytes;
      const int value_step = next_step - (steps - value_steps);
      if (value_step < 0) {
        const bool second = two && next_step >= depth_steps;
        const int d = (next_step - (second ? depth_steps : 0)) * Engine::depth;
        Engine::load_pair(to, left(second), first, right(second), next_tile, d);
      } else {
        Engine::load_values(to, values, next_tile + value_step * Engine::chunk, slab_first);
      }
      if (++next_step == steps) {
        next_step = 0;
        next_tile += Engine::columns;
      }
      next_stage = next_stage + 1 == Engine::stages ? 0 : next_stage + 1;
    }
    cp_async_commit();
  };
  // The buffer of the next chunk; the one before it is given to a later chunk.
  const auto advance = [&] {
    cp_async_wait<Engine::stages - 2>();
    __syncthreads();
    fetch();
    const unsigned char* const at = dynamic_shared() + stage * Engine::stage_bytes;
    stage = stage + 1 == Engine::stages ? 0 : stage + 1;
    return at;
  };
  for (int i = 0; i < Engine::stages - 1; ++i) fetch();

  const Entry entry(in, n);
  const bool negative = pass == Pass::forward && entry.scale < 0;
  // In the forward pass never zero, so that a key that does not count stays at minus infinity.
  const float factor =
      pass == Pass::forward ? fmaxf(fabsf(entry.scale) * log2e, 1e-30f) : entry.scale * log2e;
  Engine engine(dynamic_shared(), grid.width);
  float peak[row_count], total[row_count];         // forward
  float row_lse[row_count], row_delta[row_count];  // query_grad
#pragma unroll
  for (int i = 0; i < row_count; ++i) {
    peak[i] = -infinity;
    total[i] = row_lse[i] = row_delta[i] = 0;
    const int row = first + engine.row(i);
    if (pass == Pass::query_grad && row < count) {
      row_lse[i] = in.lse[statistics + row] * log2e;
      row_delta[i] = in.delta[statistics + row];
    }
  }

  // The scores of a tile become weights.
  const auto weigh = [&](int begin, Scores& scores, Scores& products) {
    if constexpr (pass == Pass::forward) {
      float top[row_count], shrink[row_count];
#pragma unroll
      for (int i = 0; i < row_count; ++i) top[i] = peak[i];
#pragma unroll
      for (int j = 0; j < column_count; ++j) {
        const bool kept = entry.keeps(begin + engine.column(j), part_end);
#pragma unroll
        for (int i = 0; i < row_count; ++i) {
          float& score = scores.at(i, j);
          score = !kept ? -infinity : negative ? -score : score;
          top[i] = fmaxf(top[i], score);
        }
      }
      engine.reduce_rows(top, [](float a, float b) { return fmaxf(a, b); });
      bool rises = false;
#pragma unroll
      for (int i = 0; i < row_count; ++i) {
        rises |= top[i] > peak[i];
        shrink[i] = peak[i] == top[i] ? 1.0f : ex2_approx((peak[i] - top[i]) * factor);
        peak[i] = top[i];
        total[i] *= shrink[i];
        const float shift = peak[i] == -infinity ? 0.0f : -peak[i] * factor;
#pragma unroll
        for (int j = 0; j < column_count; ++j) {
          float& score = scores.at(i, j);
          score = ex2_approx(__fmaf_rn(score, factor, shift));
          total[i] += score;
        }
      }
      if (__any_sync(whole_warp, rises)) engine.scale_sums(shrink);
    } else {
#pragma unroll
      for (int j = 0; j < column_count; ++j) {
        const int column = begin + engine.column(j);
        // Queries past the end weigh nothing as their rows are zeros.
        const bool valid = over_keys && column < part_end;
        const bool kept = over_keys || entry.keeps(column, part_end);
        const float column_lse = valid ? in.lse[statistics + column] * log2e : 0.0f;
        const float column_delta = two && valid ? in.delta[statistics + column] : 0.0f;
#pragma unroll
        for (int i = 0; i < row_count; ++i) {
          float& score = scores.at(i, j);
          const float log = over_keys ? column_lse : row_lse[i];
          score = kept ? ex2_approx(__fmaf_rn(score, factor, -log)) : 0;
          if (two) score *= products.at(i, j) - (over_keys ? column_delta : row_delta[i]);
        }
      }
    }
    engine.put_weights(scores);
  };
  for (int begin = part_begin; begin < part_end; begin += Engine::columns) {
    Scores scores, products;
    Engine::clear_scores(scores);
    Engine::clear_scores(products);
    for (int step = 0; step < steps; ++step) {
      const unsigned char* const chunk = advance();
      const int value_step = step - (steps - value_steps);
      if (value_step >= 0)
        engine.accumulate(chunk, value_step);
      else if (two && step >= depth_steps)
        engine.multiply(products, chunk);
      else
        engine.multiply(scores, chunk);
      if (value_step == -1) weigh(begin, scores, products);
    }
  }

  float factors[row_count];
  bool kept[row_count];
  if constexpr (pass == Pass::forward) engine.reduce_rows(total, Sum());
#pragma unroll
  for (int i = 0; i < row_count; ++i) {
    const int row = first + engine.row(i);
    kept[i] = true;
    if constexpr (pass == Pass::forward) {
      // A part may hold no key that counts.
      kept[i] = total[i] > 0 || total[i] != total[i];
      factors[i] = 1 / total[i];
      const float log = kept[i] ? peak[i] * factor * ln2 + logf(total[i]) : -infinity;
      if (engine.column(0) == 0 && slab == 0 && row < count)
        lse[static_cast<int64_t>(part) * in.N * in.K * in.T + statistics + row] = log;
    } else {
      kept[i] = !over_keys || entry.keeps(row, count);
      factors[i] = pass == Pass::value_grad ? 1.0f : entry.scale;
    }
  }
  const Rows<Stored> to(out, n, head, count, in);
  const Rows<float> share(shares.first + part * shares.size, n, head, count, in);
  engine.store_sums([&](int i, int column, const auto& neighbours) {
    constexpr int width = sizeof(neighbours) / sizeof(float);
    const int row = first + engine.row(i);
    if (row >= count) return;
    float values[width];
#pragma unroll
    for (int e = 0; e < width; ++e) values[e] = kept[i] ? neighbours[e] * factors[i] : 0;
    if (shares.first)
      store_columns<width>(share.row(row), slab_first + column, in.D, in.packs, values);
    else
      store_columns<width>(to.row(row), slab_first + column, in.D, in.packs, values);
  });
}

// The outputs of parts of the keys, each normalised by itself, as one: weighted by what their sums
// are of the whole sum. A warp to a row.
template <class Stored>
__global__ void merge_parts(const float* shares, const float* logs, int64_t size, int parts,
                            Stored* y, float* lse, int64_t rows, int T, int K, int D) {
  for (int64_t row = grid_thread() / 32; row < rows; row += grid_threads() / 32) {  // of [N, T, K]
    const int64_t sequence = row / K;
    const int64_t at = (sequence / T * K + row % K) * T + sequence % T;
    float most = -infinity, sum = 0;
    for (int part = 0; part < parts; ++part) most = Largest()(most, logs[part * rows + at]);
    for (int part = 0; part < parts; ++part) sum += expf(logs[part * rows + at] - most);
    if (lane_index() == 0) lse[at] = most + logf(sum);
    for (int d = lane_index(); d < D; d += 32) {
      float value = 0;
      for (int part = 0; part < parts; ++part)
        value += expf(logs[part * rows + at] - most) * shares[part * size + row * D + d];
      y[row * D + d] = narrow<Stored>(value / sum);
    }
  }
}

}  // namespace emulsion::cuda::attention
