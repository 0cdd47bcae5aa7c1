// The two loops that every reduction of reduce.cu runs through.
//
// rows: the innermost run is summed up. A group of 1 to 32 lanes, or a whole block, takes a stretch
// of one result's elements, a pack at a time, neighbours side by side.
// columns: the innermost run is kept. A thread takes `width` neighbouring results and every ty-th
// of their elements; the ty threads of a result meet in shared memory.
// Both read x once. Where the results are too few to fill a device, the elements of each are cut
// into chunks whose number follows from the shape alone; their partial values, [chunks, outputs],
// go through the columns loop once more. An accumulator takes at most 1024 packs or quadruples,
// which are joined pairwise before: float32 sums stay within a few roundings of float64 ones.
#pragma once

#include "cuda/device.cuh"

namespace emulsion::cuda {

constexpr int reduce_threads = 256;
constexpr int reduce_unroll = 4;

// Some axes of x, the last one fastest, and how far apart their neighbours lie.
struct ReduceAxes {
  static constexpr int most = Shape::max_rank / 2 + 1;  // kinds alternate

  int rank = 0;
  int64_t extents[most], strides[most];
  Divisor divisors[most];

  void push(int64_t extent, int64_t stride) {
    extents[rank] = extent;
    strides[rank++] = stride;
  }
  // Divisors see indices below 2^31 only: a longer extent is never reached.
  void seal() {
    constexpr int64_t beyond = int64_t{1} << 31;
    for (int d = 0; d < rank; ++d) divisors[d] = Divisor(extents[d] < beyond ? extents[d] : beyond);
  }

  // Of the index-th combination.
  __device__ __forceinline__ int64_t offset(int64_t index) const {
    int64_t offset = 0;
    if (rank == 1) return index * strides[0];
    if (index >> 31 == 0) {
      auto rest = static_cast<uint32_t>(index);
#pragma unroll 1
      for (int d = rank - 1; d > 0; --d) {
        uint32_t place;
        rest = divisors[d](rest, place);
        offset += place * strides[d];
      }
      return offset + rest * strides[0];
    }
#pragma unroll 1
    for (int d = rank - 1; d > 0; --d) {
      offset += index % extents[d] * strides[d];
      index /= extents[d];
    }
    return offset + index * strides[0];
  }
};

// Where results go: to y, or, when an output's elements are cut, to the partial values.
template <class Value>
struct ReduceSink {
  void* y;
  Value* partials;
  int64_t outputs;
  bool packed;  // y can be written in packs
};

struct ReduceRows {
  ReduceAxes kept, reduced;      // reduced in packs
  int64_t outputs, packs, tail;  // elements behind the packs; with a single reduced axis
  int64_t chunk;                 // packs
  int64_t chunks;
  int group;  // threads per chunk: a power of two up to 32, or the block
};

struct ReduceColumns {
  ReduceAxes kept, reduced;  // kept in packs
  int64_t packs;             // of results
  int64_t count;             // elements of each
  int64_t chunk, chunks;
  unsigned tiles;  // of tx packs
  int tx, ty;
};

template <class R, class T, int width>
__device__ __forceinline__ typename R::Value join_pack(const R& r, const Pack<T, width>& pack) {
  typename R::Value values[width];
#pragma unroll
  for (int k = 0; k < width; ++k) values[k] = r.map(pack.values[k]);
#pragma unroll
  for (int half = width / 2; half > 0; half /= 2)
#pragma unroll
    for (int k = 0; k < half; ++k) values[k] = r.join(values[k], values[k + half]);
  return values[0];
}

template <class R, class T, int width>
__global__ void __launch_bounds__(reduce_threads)
    reduce_rows(R r, const T* x, ReduceRows rows, ReduceSink<typename R::Value> sink) {
  using Value = typename R::Value;
  const int member = static_cast<int>(threadIdx.x) & (rows.group - 1);
  const int64_t task = grid_thread() / rows.group;
  const bool active = task < rows.outputs * rows.chunks;
  const int64_t output = rows.chunks == 1 ? task : task / rows.chunks;
  const int64_t part = task - output * rows.chunks;

  Value sums[reduce_unroll];
  for (Value& sum : sums) sum = r.identity();
  if (active) {
    const T* from = x + rows.kept.offset(output);
    const int64_t end = ::min(rows.packs, (part + 1) * rows.chunk);
    const int step = rows.group;
    int64_t p = part * rows.chunk + member;
    for (; p + (reduce_unroll - 1) * step < end; p += reduce_unroll * step) {
      Pack<T, width> packs[reduce_unroll];
#pragma unroll
      for (int u = 0; u < reduce_unroll; ++u)
        packs[u] = load_pack<T, width>(from + rows.reduced.offset(p + u * step));
#pragma unroll
      for (int u = 0; u < reduce_unroll; ++u) sums[u] = r.join(sums[u], join_pack(r, packs[u]));
    }
#pragma unroll
    for (int u = 0; u < reduce_unroll - 1; ++u)
      if (p + u * step < end)
        sums[u] = r.join(
            sums[u], join_pack(r, load_pack<T, width>(from + rows.reduced.offset(p + u * step))));
    if (part == rows.chunks - 1)
      for (int64_t i = member; i < rows.tail; i += step)
        sums[reduce_unroll - 1] =
            r.join(sums[reduce_unroll - 1], r.map(from[rows.packs * width + i]));
  }
  Value value = r.join(r.join(sums[0], sums[1]), r.join(sums[2], sums[3]));
  const auto join = [&](Value a, Value b) { return r.join(a, b); };
  if (rows.group == reduce_threads)
    value = block_reduce(value, r.identity(), join);
  else
    for (int offset = rows.group / 2; offset > 0; offset /= 2)
      value = r.join(value, __shfl_xor_sync(whole_warp, value, offset));
  if (!active || member != 0) return;
  if (sink.partials)
    sink.partials[part * sink.outputs + output] = value;
  else
    r.template store<1>(sink.y, output, &value, false);
}

// from_partials: x holds values of this reduction, not elements to map.
template <class R, class T, int width, bool from_partials>
__global__ void __launch_bounds__(reduce_threads)
    reduce_columns(R r, const T* x, ReduceColumns columns, ReduceSink<typename R::Value> sink) {
  using Value = typename R::Value;
  EMULSION_SHARED(Value, meeting, [width * reduce_threads]);
  const auto map = [&](T element) {
    if constexpr (from_partials)
      return element;
    else
      return r.map(element);
  };
  const int thread = static_cast<int>(threadIdx.x);
  const int ty = thread / columns.tx;
  const int64_t part = blockIdx.x / columns.tiles;
  const int64_t pack =
      static_cast<int64_t>(blockIdx.x - part * columns.tiles) * columns.tx + thread % columns.tx;
  const bool active = ty < columns.ty && pack < columns.packs;

  Value sums[width];
  for (Value& sum : sums) sum = r.identity();
  if (active) {
    const T* from = x + columns.kept.offset(pack);
    const int64_t end = ::min(columns.count, (part + 1) * columns.chunk);
    const int step = columns.ty;
    int64_t row = part * columns.chunk + ty;
    for (; row + (reduce_unroll - 1) * step < end; row += reduce_unroll * step) {
      Pack<T, width> packs[reduce_unroll];
#pragma unroll
      for (int u = 0; u < reduce_unroll; ++u)
        packs[u] = load_pack<T, width>(from + columns.reduced.offset(row + u * step));
#pragma unroll
      for (int k = 0; k < width; ++k)
        sums[k] = r.join(sums[k], r.join(r.join(map(packs[0].values[k]), map(packs[1].values[k])),
                                         r.join(map(packs[2].values[k]), map(packs[3].values[k]))));
    }
    for (; row < end; row += step) {
      const Pack<T, width> one = load_pack<T, width>(from + columns.reduced.offset(row));
#pragma unroll
      for (int k = 0; k < width; ++k) sums[k] = r.join(sums[k], map(one.values[k]));
    }
  }

  int half = 1;
  while (half < columns.ty) half *= 2;
  if (half > 1) {
#pragma unroll
    for (int k = 0; k < width; ++k) meeting[k * reduce_threads + thread] = sums[k];
    while (half /= 2) {
      __syncthreads();
      if (ty >= half || ty + half >= columns.ty) continue;
#pragma unroll
      for (int k = 0; k < width; ++k) {
        Value* own = meeting + k * reduce_threads + thread;
        sums[k] = r.join(sums[k], own[half * columns.tx]);
        *own = sums[k];
      }
    }
  }
  if (!active || ty != 0) return;
  if (sink.partials)
    for (int k = 0; k < width; ++k) sink.partials[part * sink.outputs + pack * width + k] = sums[k];
  else
    r.template store<width>(sink.y, pack * width, sums, sink.packed);
}

}  // namespace emulsion::cuda
