// Nearest codes on a GPU: a product in float32 whose 64 x 128 tiles of scores stay in registers and
// are folded at once into each row's best code. 256 threads hold 4 rows x 8 codes each; slabs of 16
// dimensions of vectors and codes pass through shared memory, transposed, the next one on its way
// in registers. A block owns 64 vectors and, where vectors are few, a share of the codes that the
// shape alone decides; then a second launch folds the shares. Half the squared lengths of the codes
// come from a launch of their own. Bound by FMA: 2 N K D operations; vectors are read once per
// share, codes once per 64 vectors.
#include "ops/nearest_codes.h"

#include "cuda/device.cuh"
#include "cuda/host.h"

namespace emulsion::cuda {
namespace {

constexpr int threads = 256;
constexpr int tile_rows = 64, tile_codes = 128, slab = 16;
constexpr int thread_rows = 4, thread_codes = 8;
// 16 threads along the codes, 16 along the rows.
constexpr int across = tile_codes / thread_codes;
static_assert(across * (tile_rows / thread_rows) == threads);

struct Candidate {
  float score;
  int index;
};

__device__ __forceinline__ Candidate better(Candidate a, Candidate b) {
  return b.score < a.score || (b.score == a.score && b.index < a.index) ? b : a;
}

// A warp per code.
template <class T>
__global__ void __launch_bounds__(threads)
    half_lengths(const T* codes, int64_t count, int64_t dim, float* lengths) {
  const int64_t code = int64_t{blockIdx.x} * (threads / 32) + warp_index();
  if (code >= count) return;
  float sum = 0;
  for (int64_t d = lane_index(); d < dim; d += 32) {
    const float value = widen(codes[code * dim + d]);
    sum = fmaf(value, value, sum);
  }
  sum = warp_reduce(sum, Sum());
  if (lane_index() == 0) lengths[code] = 0.5f * sum;
}

// Elements of a slab of a matrix [rows, dim] that one thread brings: each thread walks 8 neighbours
// along d for a row, so that 16 bytes of a row are read by one thread or two.
template <int rows>
struct SlabShare {
  static constexpr int per_row = threads / rows;  // 4 or 2 threads
  static constexpr int count = slab / per_row;    // 4 or 8 elements
  float values[count];

  template <class T>
  __device__ __forceinline__ void read(const T* from, int64_t first_row, int64_t end_row,
                                       int64_t first_d, int64_t dim) {
    const int64_t row = first_row + static_cast<int>(threadIdx.x) / per_row;
    const int64_t d = first_d + static_cast<int>(threadIdx.x) % per_row * count;
#pragma unroll
    for (int i = 0; i < count; ++i)
      values[i] = row < end_row && d + i < dim ? widen(from[row * dim + d + i]) : 0.0f;
  }
  // To [slab][rows + 4]: the padding spreads a column of the transposition over the banks.
  __device__ __forceinline__ void write(float* to) const {
    const int row = static_cast<int>(threadIdx.x) / per_row;
    const int d = static_cast<int>(threadIdx.x) % per_row * count;
#pragma unroll
    for (int i = 0; i < count; ++i) to[(d + i) * (rows + 4) + row] = values[i];
  }
};

template <class T>
__global__ void __launch_bounds__(threads)
    nearest(const T* vectors, const T* codes, const float* lengths, int64_t rows, int64_t count,
            int64_t dim, int64_t share, Candidate* candidates, int64_t* indices) {
  EMULSION_SHARED(float, z, [slab * (tile_rows + 4)]);
  EMULSION_SHARED(float, e, [slab * (tile_codes + 4)]);
  const int64_t first_row = int64_t{blockIdx.x} * tile_rows;
  const int64_t first_code = int64_t{blockIdx.y} * share;
  const int64_t end_code = ::min(count, first_code + share);
  const int tx = static_cast<int>(threadIdx.x) % across,
            ty = static_cast<int>(threadIdx.x) / across;

  Candidate best[thread_rows];
#pragma unroll
  for (int r = 0; r < thread_rows; ++r)
    best[r] = {__int_as_float(0x7f800000), static_cast<int>(first_code)};

  SlabShare<tile_rows> next_z;
  SlabShare<tile_codes> next_e;
  for (int64_t code = first_code; code < end_code; code += tile_codes) {
    float products[thread_rows][thread_codes] = {};
    next_z.read(vectors, first_row, rows, 0, dim);
    next_e.read(codes, code, end_code, 0, dim);
    for (int64_t d = 0; d < dim; d += slab) {
      __syncthreads();
      next_z.write(z);
      next_e.write(e);
      __syncthreads();
      if (d + slab < dim) {
        next_z.read(vectors, first_row, rows, d + slab, dim);
        next_e.read(codes, code, end_code, d + slab, dim);
      }
#pragma unroll
      for (int k = 0; k < slab; ++k) {
        // Codes of a thread: 4 at 4 tx, 4 at 64 + 4 tx, so that a warp's reads touch each bank
        // once.
        const Pack<float> own = load_pack(z + k * (tile_rows + 4) + ty * thread_rows);
        const Pack<float> low = load_pack(e + k * (tile_codes + 4) + 4 * tx);
        const Pack<float> high = load_pack(e + k * (tile_codes + 4) + tile_codes / 2 + 4 * tx);
#pragma unroll
        for (int r = 0; r < thread_rows; ++r)
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            products[r][c] = fmaf(own.values[r], low.values[c], products[r][c]);
            products[r][4 + c] = fmaf(own.values[r], high.values[c], products[r][4 + c]);
          }
      }
    }
#pragma unroll
    for (int c = 0; c < thread_codes; ++c) {
      const int64_t own = code + (c < 4 ? 4 * tx + c : tile_codes / 2 + 4 * tx + c - 4);
      if (own >= end_code) continue;
      const float length = lengths[own];
#pragma unroll
      for (int r = 0; r < thread_rows; ++r) {
        const float score = length - products[r][c];
        if (score < best[r].score) best[r] = {score, static_cast<int>(own)};
      }
    }
  }

  // The 16 threads of a row are neighbours in half a warp.
#pragma unroll
  for (int r = 0; r < thread_rows; ++r) {
    for (int offset = across / 2; offset > 0; offset /= 2)
      best[r] = better(best[r], {__shfl_xor_sync(whole_warp, best[r].score, offset),
                                 __shfl_xor_sync(whole_warp, best[r].index, offset)});
    const int64_t row = first_row + ty * thread_rows + r;
    if (tx != 0 || row >= rows) continue;
    if (candidates)
      candidates[row * gridDim.y + blockIdx.y] = best[r];
    else
      indices[row] = best[r].index;
  }
}

__global__ void fold(const Candidate* candidates, int64_t rows, int shares, int64_t* indices) {
  for (int64_t row = grid_thread(); row < rows; row += grid_threads()) {
    Candidate best = candidates[row * shares];
    for (int s = 1; s < shares; ++s) best = better(best, candidates[row * shares + s]);
    indices[row] = best.index;
  }
}

template <class T>
void search(const View& vectors, const View& codes, View& indices) {
  const int64_t rows = vectors.dim(0), dim = vectors.dim(1), count = codes.dim(0);
  const Workspace lengths(count * static_cast<int64_t>(sizeof(float)));
  launch("nearest_codes", half_lengths<T>,
         Grid{dim3(static_cast<unsigned>(ceil_div(count, threads / 32))), dim3(threads)},
         static_cast<const T*>(codes.as<T>()), count, dim, lengths.as<float>());

  const int64_t blocks = ceil_div(rows, tile_rows);
  // Two waves of a large GPU, in shares of at least four tiles.
  const int64_t wanted =
      std::clamp<int64_t>(ceil_div(256, blocks), 1, ceil_div(count, 4 * tile_codes));
  const int64_t share = ceil_div(ceil_div(count, wanted), tile_codes) * tile_codes;
  const int64_t shares = ceil_div(count, share);
  const Workspace candidates(shares == 1 ? 0
                                         : rows * shares * static_cast<int64_t>(sizeof(Candidate)));
  launch("nearest_codes", nearest<T>,
         Grid{dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(shares)), dim3(threads)},
         static_cast<const T*>(vectors.as<T>()), static_cast<const T*>(codes.as<T>()),
         static_cast<const float*>(lengths.as<float>()), rows, count, dim, share,
         shares == 1 ? nullptr : candidates.as<Candidate>(), indices.as<int64_t>());
  if (shares > 1)
    launch("nearest_codes", fold, stream_grid(rows),
           static_cast<const Candidate*>(candidates.as<Candidate>()), rows,
           static_cast<int>(shares), indices.as<int64_t>());
}

}  // namespace

void nearest_codes(const View& vectors, const View& codes, View& indices) {
  check_nearest_codes(vectors, codes, indices);
  if (vectors.dim(0) == 0) return;
  dispatch_float(vectors.dtype, "nearest_codes",
                 [&]<class T>() { search<T>(vectors, codes, indices); });
}

}  // namespace emulsion::cuda
