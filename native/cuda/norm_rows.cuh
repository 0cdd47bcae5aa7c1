// The walks over rows of channels that group norm and batch norm are made of, for channels-last
// tensors [images][rows][channels]:
//
//   channel_moments  per channel mean and Σ(x - mean)² of a chunk of rows          reads x
//   normalize_rows   v = (x - center)·scale + offset, y = v or v·σ(v)              reads x, writes
//   y gradient_sums    per channel Σ dv, Σ dv·(x - center), dv = dy or dy·silu'(v)   reads dy, x
//   gradient_rows    dx = dv·scale + (x - center)·q + r                     reads dy, x, writes dx
//
// Bandwidth is the roof. A thread owns a vector of `width` neighbouring channels (16 bytes where
// alignment allows) and walks rows, so that loads are coalesced for any number of channels and
// groups may cut a vector; a block is `columns` vectors times `lanes` rows, and a chunk of rows is
// a function of the shape alone. Partial results are per channel and chunk: what folds them knows
// of groups. Moments are Welford's per thread and merged about their own mean, which keeps the
// digits of a small deviation about a large mean; so does subtracting the centre before scaling.
// The second walk runs from the last chunk to the first: the last ones are still in the L2 cache.
#pragma once

#include "cuda/norm.cuh"

namespace emulsion::cuda {

// How a tensor is cut. Blocks: (images · chunks, slices).
struct RowTiling {
  int64_t images, rows, channels;
  int columns, lanes, slices;  // columns: vectors of a block; the last slice may have fewer
  int64_t chunk, chunks;       // rows of a block; blocks of an image

  RowTiling(int64_t images, int64_t rows, int64_t channels, int width)
      : images(images), rows(rows), channels(channels) {
    constexpr int64_t most_columns = 64;     // 1 KiB of a row
    constexpr int64_t wanted_blocks = 1024;  // several per multiprocessor of any device
    const int64_t vectors = channels / width;
    slices = static_cast<int>(ceil_div(vectors, most_columns));
    columns = static_cast<int>(ceil_div(vectors, slices));
    lanes = norm_threads / columns;
    // A partial result takes as much as two to four rows.
    const int64_t least = std::max(8 * lanes, 32);
    const int64_t wanted =
        std::max<int64_t>(1, wanted_blocks / std::max<int64_t>(1, images * slices));
    chunk = std::max(least, ceil_div(rows, wanted));
    chunks = ceil_div(rows, chunk);
  }

  Grid grid(size_t shared = 0) const {
    const int threads = static_cast<int>(ceil_div(columns * lanes, 32)) * 32;
    return {dim3(static_cast<unsigned>(images * chunks), static_cast<unsigned>(slices)),
            dim3(static_cast<unsigned>(threads)), shared};
  }

  EMULSION_INLINE int64_t rows_of(int64_t chunk_index) const {
    const int64_t left = rows - chunk_index * chunk;
    return left < chunk ? left : chunk;
  }
};

// Where a thread stands. `block`: image · chunks + chunk.
template <int width>
struct RowPlace {
  int64_t image, chunk, first, end;  // rows [first, end) of the image
  int lane, column, channels;        // channels: of the block
  int64_t slice, channel;            // the block's first channel, the thread's
  bool active;

  __device__ __forceinline__ RowPlace(const RowTiling& tiling, int64_t block) {
    image = block / tiling.chunks;
    chunk = block - image * tiling.chunks;
    lane = static_cast<int>(threadIdx.x) / tiling.columns;
    column = static_cast<int>(threadIdx.x) - lane * tiling.columns;
    slice = static_cast<int64_t>(blockIdx.y) * tiling.columns * width;
    channel = slice + column * width;
    channels = static_cast<int>(
        ::min(tiling.channels - slice, static_cast<int64_t>(tiling.columns) * width));
    active = lane < tiling.lanes && channel < tiling.channels;
    first = chunk * tiling.chunk;
    end = first + tiling.rows_of(chunk);
  }
};

// silu(v) = v·σ(v), and dy times its derivative σ(v)·(1 + v·(1 - σ(v))).
template <class T, bool silu>
__device__ __forceinline__ float activate(float v) {
  if constexpr (silu) return __fdividef(v, 1.0f + exponential<T>(-v));
  return v;
}
template <class T, bool silu>
__device__ __forceinline__ float activation_gradient(float dy, float v) {
  if constexpr (silu) {
    const float s = __fdividef(1.0f, 1.0f + exponential<T>(-v));
    return dy * s * fmaf(v, 1.0f - s, 1.0f);
  }
  return dy;
}

// Mean and Σ(x - mean)² of a stream of vectors.
template <int width>
struct Welford {
  float mean[width] = {}, square[width] = {}, count = 0;

  template <class T>
  __device__ __forceinline__ void add(const Pack<T, width>& pack) {
    count += 1;
    const float share = __fdividef(1.0f, count);
#pragma unroll
    for (int j = 0; j < width; ++j) {
      const float x = widen(pack.values[j]), delta = x - mean[j];
      mean[j] = fmaf(delta, share, mean[j]);
      square[j] = fmaf(delta, x - mean[j], square[j]);
    }
  }
};

// The threads' vectors side by side in shared memory: element j of thread t at [j][t], rows of
// `pitch` floats, so that neighbouring threads and neighbouring channels meet different banks.
template <int width>
struct Exchange {
  float* at;
  int pitch, columns;

  __device__ __forceinline__ Exchange(float* at, int columns)
      : at(at), pitch(static_cast<int>(blockDim.x) + 32 / width), columns(columns) {}
  static int64_t floats(const Grid& grid) { return width * (grid.threads.x + 32 / width); }

  __device__ __forceinline__ void put(const float (&vector)[width]) const {
#pragma unroll
    for (int j = 0; j < width; ++j) at[j * pitch + static_cast<int>(threadIdx.x)] = vector[j];
  }
  // Of channel c of the block, from the thread of a lane.
  __device__ __forceinline__ float get(int c, int lane) const {
    return at[c % width * pitch + lane * columns + c / width];
  }
  __device__ __forceinline__ void set(int c, int lane, float value) const {
    at[c % width * pitch + lane * columns + c / width] = value;
  }
  __device__ __forceinline__ Exchange next() const {
    Exchange result = *this;
    result.at += width * pitch;
    return result;
  }
};

// How `rows` rows fall on lanes, row r on lane r % lanes, and how lanes that all threads of a block
// fold first fall on `parts`, lane l on part l % parts: where channels are few, threads are many.
struct Lanes {
  int lanes, parts, whole, extra;  // lanes below extra have one row more than `whole`

  __device__ __forceinline__ Lanes(int64_t rows, int lanes, int channels)
      : lanes(static_cast<int>(::min(rows, static_cast<int64_t>(lanes)))) {
    const int folding = static_cast<int>(blockDim.x) / channels;
    parts = ::min(this->lanes, folding < 1 ? 1 : folding);
    whole = static_cast<int>(rows / this->lanes);
    extra = static_cast<int>(rows - static_cast<int64_t>(whole) * this->lanes);
  }
  __device__ __forceinline__ float rows_of_lane(int lane) const {
    return static_cast<float>(whole + (lane < extra));
  }
  __device__ __forceinline__ float rows_of_part(int part) const {
    const int lanes_here = (lanes - part + parts - 1) / parts;
    return static_cast<float>(whole * lanes_here + (extra - part + parts - 1) / parts);
  }
  // Calls body(channel, part): the block's threads side by side over channels, then parts.
  template <class Body>
  __device__ __forceinline__ void each_part(int channels, Body&& body) const {
    for (int i = static_cast<int>(threadIdx.x); i < channels * parts; i += blockDim.x)
      body(i % channels, i / channels);
  }
};

// Mean and Σ(x - mean)² of channel c from those of the lanes first, first + step ... below end,
// which have rows(lane) values each.
template <int width, class Rows>
__device__ __forceinline__ void merge_moments(const Exchange<width>& mean,
                                              const Exchange<width>& square, int c, int first,
                                              int step, int end, Rows&& rows, float& center,
                                              float& spread) {
  const float some = mean.get(c, first);  // the others lie nearby: differences keep their digits
  float total = 0, offset = 0;
  for (int lane = first; lane < end; lane += step) {
    total += rows(lane);
    offset = fmaf(rows(lane), mean.get(c, lane) - some, offset);
  }
  center = some + offset / total;
  spread = 0;
  for (int lane = first; lane < end; lane += step) {
    const float delta = mean.get(c, lane) - center;
    spread += fmaf(rows(lane) * delta, delta, square.get(c, lane));
  }
}

// Folds the lanes of moments or sums onto their parts, in place. Begins and ends with a barrier.
template <int width>
__device__ __forceinline__ void fold_moments(const Exchange<width>& mean,
                                             const Exchange<width>& square, int channels,
                                             const Lanes& l) {
  __syncthreads();
  if (l.parts == l.lanes) return;
  l.each_part(channels, [&](int c, int part) {
    float center, spread;
    merge_moments(
        mean, square, c, part, l.parts, l.lanes, [&](int lane) { return l.rows_of_lane(lane); },
        center, spread);
    mean.set(c, part, center);
    square.set(c, part, spread);
  });
  __syncthreads();
}
template <int width>
__device__ __forceinline__ void fold_sums(const Exchange<width>& one, const Exchange<width>& two,
                                          int channels, const Lanes& l) {
  __syncthreads();
  if (l.parts == l.lanes) return;
  l.each_part(channels, [&](int c, int part) {
    float a = 0, b = 0;
    for (int lane = part; lane < l.lanes; lane += l.parts) {
      a += one.get(c, lane);
      b += two.get(c, lane);
    }
    one.set(c, part, a);
    two.set(c, part, b);
  });
  __syncthreads();
}

constexpr int rows_ahead = 4;  // loads under way per thread before the first is used

// Calls body(row, pack...) for the rows of a thread: a pack of each tensor at that row.
template <class T, int width, class Body>
__device__ __forceinline__ void walk_rows(const T* x, int64_t from, int64_t end, int64_t step,
                                          int64_t pitch, Body&& body) {
  for (int64_t row = from; row < end; row += rows_ahead * step) {
    Pack<T, width> packs[rows_ahead];
#pragma unroll
    for (int k = 0; k < rows_ahead; ++k)
      if (row + k * step < end) packs[k] = load_pack<T, width>(x + (row + k * step) * pitch);
#pragma unroll
    for (int k = 0; k < rows_ahead; ++k)
      if (row + k * step < end) body(row + k * step, packs[k]);
  }
}
template <class T, int width, class Body>
__device__ __forceinline__ void walk_rows(const T* x, const T* dy, int64_t from, int64_t end,
                                          int64_t step, int64_t pitch, Body&& body) {
  constexpr int ahead = rows_ahead / 2;
  for (int64_t row = from; row < end; row += ahead * step) {
    Pack<T, width> packs[ahead], gradients[ahead];
#pragma unroll
    for (int k = 0; k < ahead; ++k)
      if (row + k * step < end) {
        packs[k] = load_pack<T, width>(x + (row + k * step) * pitch);
        gradients[k] = load_pack<T, width>(dy + (row + k * step) * pitch);
      }
#pragma unroll
    for (int k = 0; k < ahead; ++k)
      if (row + k * step < end) body(row + k * step, packs[k], gradients[k]);
  }
}

// means, squares: [images · chunks][channels]
template <class T, int width>
__global__ void __launch_bounds__(norm_threads)
    channel_moments(const T* x, RowTiling tiling, float* means, float* squares) {
  const int64_t block = blockIdx.x;
  const RowPlace<width> place(tiling, block);
  Welford<width> moments;
  if (place.active)
    walk_rows<T, width>(x + place.image * tiling.rows * tiling.channels + place.channel,
                        place.first + place.lane, place.end, tiling.lanes, tiling.channels,
                        [&](int64_t, const Pack<T, width>& pack) { moments.add(pack); });
  const Exchange<width> mean(reinterpret_cast<float*>(dynamic_shared()), tiling.columns);
  const Exchange<width> square = mean.next();
  mean.put(moments.mean);
  square.put(moments.square);
  const Lanes lanes(place.end - place.first, tiling.lanes, place.channels);
  fold_moments(mean, square, place.channels, lanes);
  for (int c = static_cast<int>(threadIdx.x); c < place.channels; c += blockDim.x) {
    float center, spread;
    merge_moments(
        mean, square, c, 0, 1, lanes.parts, [&](int part) { return lanes.rows_of_part(part); },
        center, spread);
    means[block * tiling.channels + place.slice + c] = center;
    squares[block * tiling.channels + place.slice + c] = spread;
  }
}

// Per channel, of an image: center, scale, offset, and for dx q and r. [images][fields][channels].
enum Field { center_field, scale_field, offset_field, q_field, r_field };

template <class T, int width, bool silu>
__global__ void __launch_bounds__(norm_threads)
    normalize_rows(const T* x, RowTiling tiling, const float* coefficients, int fields, T* y) {
  const RowPlace<width> place(tiling, static_cast<int64_t>(gridDim.x) - 1 - blockIdx.x);
  if (!place.active) return;
  const float* k = coefficients + place.image * fields * tiling.channels + place.channel;
  float center[width], scale[width], offset[width];
  load_floats(k + center_field * tiling.channels, center);
  load_floats(k + scale_field * tiling.channels, scale);
  load_floats(k + offset_field * tiling.channels, offset);
  const int64_t image = place.image * tiling.rows * tiling.channels + place.channel;
  walk_rows<T, width>(x + image, place.first + place.lane, place.end, tiling.lanes, tiling.channels,
                      [&](int64_t row, Pack<T, width> pack) {
#pragma unroll
                        for (int j = 0; j < width; ++j)
                          pack.values[j] = narrow<T>(activate<T, silu>(
                              fmaf(widen(pack.values[j]) - center[j], scale[j], offset[j])));
                        store_pack(y + image + row * tiling.channels, pack);
                      });
}

// sums: [images · chunks][2][channels]. Affine: channel(image, c, center, scale, offset) gives the
// coefficients of v; they are made once per channel of a block.
template <class T, int width, bool silu, class Affine>
__global__ void __launch_bounds__(norm_threads)
    gradient_sums(const T* dy, const T* x, RowTiling tiling, Affine affine, float* sums) {
  const int64_t block = blockIdx.x;
  const RowPlace<width> place(tiling, block);
  auto* shared = reinterpret_cast<float*>(dynamic_shared());
  const int pitch = tiling.columns * width;
  for (int c = static_cast<int>(threadIdx.x); c < place.channels; c += blockDim.x)
    affine.channel(place.image, place.slice + c, shared[c], shared[pitch + c],
                   shared[2 * pitch + c]);
  __syncthreads();
  float center[width], scale[width], offset[width], first[width] = {}, second[width] = {};
  if (place.active) {
    const float* k = shared + place.column * width;
    load_floats(k, center);
    load_floats(k + pitch, scale);
    load_floats(k + 2 * pitch, offset);
    const int64_t image = place.image * tiling.rows * tiling.channels + place.channel;
    walk_rows<T, width>(x + image, dy + image, place.first + place.lane, place.end, tiling.lanes,
                        tiling.channels,
                        [&](int64_t, const Pack<T, width>& at, const Pack<T, width>& upstream) {
#pragma unroll
                          for (int j = 0; j < width; ++j) {
                            const float deviation = widen(at.values[j]) - center[j];
                            const float dv = activation_gradient<T, silu>(
                                widen(upstream.values[j]), fmaf(deviation, scale[j], offset[j]));
                            first[j] += dv;
                            second[j] = fmaf(dv, deviation, second[j]);
                          }
                        });
  }
  __syncthreads();  // the coefficients make room for the sums
  const Exchange<width> one(shared, tiling.columns), two = one.next();
  one.put(first);
  two.put(second);
  const Lanes lanes(place.end - place.first, tiling.lanes, place.channels);
  fold_sums(one, two, place.channels, lanes);
  for (int c = static_cast<int>(threadIdx.x); c < place.channels; c += blockDim.x) {
    float a = 0, b = 0;
    for (int part = 0; part < lanes.parts; ++part) {
      a += one.get(c, part);
      b += two.get(c, part);
    }
    sums[2 * block * tiling.channels + place.slice + c] = a;
    sums[(2 * block + 1) * tiling.channels + place.slice + c] = b;
  }
}

template <class T, int width, bool silu>
__global__ void __launch_bounds__(norm_threads)
    gradient_rows(const T* dy, const T* x, RowTiling tiling, const float* coefficients, T* dx) {
  const RowPlace<width> place(tiling, static_cast<int64_t>(gridDim.x) - 1 - blockIdx.x);
  if (!place.active) return;
  const float* k = coefficients + place.image * 5 * tiling.channels + place.channel;
  float center[width], scale[width], offset[width], q[width], r[width];
  load_floats(k + center_field * tiling.channels, center);
  load_floats(k + scale_field * tiling.channels, scale);
  load_floats(k + offset_field * tiling.channels, offset);
  load_floats(k + q_field * tiling.channels, q);
  load_floats(k + r_field * tiling.channels, r);
  const int64_t image = place.image * tiling.rows * tiling.channels + place.channel;
  walk_rows<T, width>(x + image, dy + image, place.first + place.lane, place.end, tiling.lanes,
                      tiling.channels,
                      [&](int64_t row, Pack<T, width> at, const Pack<T, width>& upstream) {
#pragma unroll
                        for (int j = 0; j < width; ++j) {
                          const float deviation = widen(at.values[j]) - center[j];
                          const float dv = activation_gradient<T, silu>(
                              widen(upstream.values[j]), fmaf(deviation, scale[j], offset[j]));
                          at.values[j] = narrow<T>(fmaf(dv, scale[j], fmaf(deviation, q[j], r[j])));
                        }
                        store_pack(dx + image + row * tiling.channels, at);
                      });
}

// Bytes of dynamic shared memory of channel_moments and gradient_sums.
template <int width>
size_t row_shared_bytes(const RowTiling& tiling) {
  const int64_t exchange = 2 * Exchange<width>::floats(tiling.grid());
  const int64_t coefficients = int64_t{3} * tiling.columns * width;
  return static_cast<size_t>(4 * std::max(exchange, coefficients));
}

}  // namespace emulsion::cuda
