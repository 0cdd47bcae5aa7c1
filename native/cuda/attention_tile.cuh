// What attention's kernels share: the operands of a pass, the rows of a head and their way to
// shared memory, products on tensor cores.
//
// Tiles of 16-bit rows lie in shared memory without padding: the 16-byte slots of a row are
// permuted by the row's number so that eight rows at one slot (what ldmatrix reads at once) fall
// into eight different groups of banks, for every head size that is a multiple of 16.
#pragma once

#include <type_traits>

#include "cuda/device.cuh"

namespace emulsion::cuda::attention {

constexpr float log2e = 1.4426950408889634f, ln2 = 0.6931471805599453f;
constexpr float infinity = __builtin_huge_valf();

// The operands of a pass: N sequences of T queries and S keys, K heads of D elements.
template <class Stored>
struct Inputs {
  const Stored *q, *k, *v, *dy;  // [N, T, K, D], [N, S, K, D], the same, as q
  const uint8_t* mask;           // [N, S] or null
  const float *lse, *delta;      // [N, K, T], of the backward pass
  int N, T, S, K, D;
  float scale;
  bool packs;  // rows begin and end at borders of 16 bytes
};

constexpr int64_t widest_fused = 160;

// Calls body.template operator()<depth>() with the smallest depth that holds D <= widest_fused.
template <class Body>
void dispatch_depth(int64_t D, Body&& body) {
  if (D <= 32) return body.template operator()<32>();
  if (D <= 48) return body.template operator()<48>();
  if (D <= 64) return body.template operator()<64>();
  if (D <= 80) return body.template operator()<80>();
  if (D <= 96) return body.template operator()<96>();
  if (D <= 128) return body.template operator()<128>();
  return body.template operator()<widest_fused>();
}

// The rows of one head.
template <class Stored>
struct Rows {
  Stored* data;
  int64_t stride;
  int count, size;
  bool packs;

  template <class Operands>
  __device__ __forceinline__ Rows(Stored* tensor, int64_t n, int head, int rows, const Operands& in)
      : data(tensor + (n * rows * in.K + head) * in.D),
        stride(static_cast<int64_t>(in.K) * in.D),
        count(rows),
        size(in.D),
        packs(in.packs) {}

  __device__ __forceinline__ Stored* row(int i) const { return data + i * stride; }
};

// The mask and the scale that hold for a batch entry. Where the mask leaves no key, all weights are
// the same: that is no mask and a scale of zero. For all threads of the block.
struct Entry {
  const uint8_t* mask;
  float scale;

  template <class Stored>
  __device__ __forceinline__ Entry(const Inputs<Stored>& in, int64_t n)
      : mask(in.mask), scale(in.scale) {
    if (!mask) return;
    mask += n * in.S;
    int kept = 0;
    for (int s = static_cast<int>(threadIdx.x); s < in.S; s += static_cast<int>(blockDim.x))
      kept |= mask[s];
    if (block_reduce(kept, 0, [](int a, int b) { return a | b; })) return;
    mask = nullptr;
    scale = 0;
  }

  __device__ __forceinline__ bool keeps(int key, int keys) const {
    return key < keys && (!mask || mask[key]);
  }
};

// A tile of rows of `size` 16-bit elements, a multiple of 16.
template <int size>
struct Swizzled {
  static constexpr int slots = size / 8;
  static constexpr int row_bytes = 2 * size;
  static constexpr int bits = slots % 8 == 0 ? 3 : slots % 4 == 0 ? 2 : 1;

  // Adding a multiple of eight to the row moves the address by as many row_bytes.
  __device__ __forceinline__ static int at(int row, int slot) {
    return row * row_bytes + ((slot ^ (row >> (3 - bits) & ((1 << bits) - 1))) << 4);
  }
};

// Enqueues the copy of rows [first, first + rows) x columns [column, column + slots of 16 bytes)
// to a tile, zeros for what lies outside of the tensor. The caller commits.
//
// A thread keeps to one place in the pattern of the tile, so that its addresses are one sum and
// constants: groups of slots that the permutation leaves together, or whole rows in eights.
template <class Tile, int rows, int slots, int threads, class Stored>
__device__ __forceinline__ void load_rows(unsigned char* tile, const Rows<const Stored>& from,
                                          int first, int column = 0) {
  constexpr int per_slot = static_cast<int>(16 / sizeof(Stored));
  constexpr int group = slots % 8 == 0   ? (threads / rows > 8 ? threads / rows : 8)
                        : slots % 4 == 0 ? 4
                                         : slots;
  constexpr int pass = threads / group / 8 * 8;  // rows at a time
  constexpr int passes = (rows + pass - 1) / pass;
  static_assert(pass > 0 && rows % 8 == 0 && slots % group == 0);
  const int thread = static_cast<int>(threadIdx.x), row = thread / group, slot = thread % group;
  if (from.packs) {
    if (row >= pass) return;
    const Stored* source = from.row(first + row) + column + slot * per_slot;
    unsigned char* const to = tile + Tile::at(row, slot);
    const int left = from.count - first - row, width = from.size - column - slot * per_slot;
#pragma unroll
    for (int i = 0; i < passes; ++i, source += pass * from.stride) {
      if (rows % pass != 0 && i + 1 == passes && row >= rows % pass) break;
#pragma unroll
      for (int j = 0; j < slots / group; ++j)
        cp_async<16>(to + i * pass * Tile::row_bytes + j * group * 16,
                     source + j * group * per_slot,
                     i * pass < left && j * group * per_slot < width);
    }
    return;
  }
#pragma unroll 1
  for (int i = thread; i < rows * slots * per_slot; i += threads) {
    const int at = i % (slots * per_slot), line = i / (slots * per_slot);
    const bool valid = first + line < from.count && column + at < from.size;
    const Stored* const source = valid ? from.row(first + line) + column + at : from.data;
    auto* const to =
        reinterpret_cast<Stored*>(tile + Tile::at(line, at / per_slot)) + at % per_slot;
    if constexpr (sizeof(Stored) == 4)
      cp_async<4>(to, source, valid);
    else
      *to = valid ? *source : Stored{};
  }
}

// Writes `width` neighbours of a row of D elements, from `column` on.
template <int width, class Stored>
__device__ __forceinline__ void store_columns(Stored* row, int column, int size, bool packs,
                                              const float (&values)[width]) {
  if (packs && column + width <= size) {
    Pack<Stored, width> pack;
#pragma unroll
    for (int i = 0; i < width; ++i) pack.values[i] = narrow<Stored>(values[i]);
    store_pack(row + column, pack);
    return;
  }
#pragma unroll
  for (int i = 0; i < width; ++i)
    if (column + i < size) row[column + i] = narrow<Stored>(values[i]);
}

// ---- products of a warp, 16 rows for each of its `atoms`

// The A operand of depth step k (of 16) of the 16 rows from `rows` on.
template <class Tile>
__device__ __forceinline__ void load_fragment(uint32_t (&a)[4], const unsigned char* rows, int k) {
  const int lane = lane_index();
  ldmatrix_x4(a, rows + Tile::at(lane & 15, 2 * k + (lane >> 4)));
}

// The A operands of a warp's rows over the whole depth: kept in registers, or read again from the
// tile at every use.
template <class Tile, int atoms, int depth, bool resident>
struct Fragments {
  uint32_t values[resident ? atoms : 1][resident ? depth / 16 : 1][4];
  const unsigned char* rows;

  __device__ __forceinline__ void load(const unsigned char* tile) {
    rows = tile;
    if constexpr (resident)
#pragma unroll
      for (int m = 0; m < atoms; ++m)
#pragma unroll
        for (int k = 0; k < depth / 16; ++k)
          load_fragment<Tile>(values[m][k], rows + m * 16 * Tile::row_bytes, k);
  }

  __device__ __forceinline__ void get(uint32_t (&a)[4], int m, int k) const {
    if constexpr (resident) {
#pragma unroll
      for (int i = 0; i < 4; ++i) a[i] = values[m][k][i];
    } else {
      load_fragment<Tile>(a, rows + m * 16 * Tile::row_bytes, k);
    }
  }
};

template <int atoms, int columns>
__device__ __forceinline__ void clear(float (&c)[atoms][columns][4]) {
#pragma unroll
  for (int m = 0; m < atoms; ++m)
#pragma unroll
    for (int j = 0; j < columns; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) c[m][j][i] = 0;
}

// scores = a · bᵀ, b a tile of `columns` rows; only the first `groups` of 16 columns if not whole.
template <class Stored, class Tile, bool whole, int atoms, int depth, bool resident, int tiles>
__device__ __forceinline__ void multiply_rows(
    float (&scores)[atoms][tiles][4], const Fragments<Tile, atoms, depth, resident>& fragments,
    const unsigned char* b, int groups) {
  const int lane = lane_index();
  const int row = (lane & 7) + (lane >> 4 << 3), half = lane >> 3 & 1;
  clear(scores);
#pragma unroll
  for (int k = 0; k < depth / 16; ++k) {
    uint32_t a[atoms][4];
#pragma unroll
    for (int m = 0; m < atoms; ++m) fragments.get(a[m], m, k);
#pragma unroll
    for (int pair = 0; pair < tiles / 2; ++pair) {
      if (!whole && pair >= groups) break;
      uint32_t columns[4];
      ldmatrix_x4(columns, b + Tile::at(row, 2 * k + half) + pair * 16 * Tile::row_bytes);
#pragma unroll
      for (int m = 0; m < atoms; ++m) {
        mma_m16n8k16<Stored>(scores[m][2 * pair], a[m], columns[0], columns[1]);
        mma_m16n8k16<Stored>(scores[m][2 * pair + 1], a[m], columns[2], columns[3]);
      }
    }
  }
}

// Scores of keys that do not count, of those from `begin` on, become `value`.
template <int atoms, int tiles>
__device__ __forceinline__ void leave_out(float (&scores)[atoms][tiles][4], const Entry& entry,
                                          int begin, int keys, float value = -infinity) {
  const int t = lane_index() % 4;
#pragma unroll
  for (int j = 0; j < tiles; ++j)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const bool kept = entry.keeps(begin + 8 * j + 2 * t + e, keys);
#pragma unroll
      for (int m = 0; m < atoms; ++m) {
        scores[m][j][e] = kept ? scores[m][j][e] : value;
        scores[m][j][e + 2] = kept ? scores[m][j][e + 2] : value;
      }
    }
}

// sums += weights · b, b a tile with a row per column of the weights. What the product of scores
// left in a thread is what the next product's A operand wants there: no shuffles. `half` leaves out
// the last 8 columns.
template <class Stored, class Tile, bool whole, int atoms, int tiles, int columns>
__device__ __forceinline__ void multiply_weights(float (&sums)[atoms][columns][4],
                                                 const float (&weights)[atoms][tiles][4],
                                                 const unsigned char* b, int groups, bool half) {
  const int lane = lane_index();
#pragma unroll
  for (int k = 0; k < tiles / 2; ++k) {
    if (!whole && k >= groups) break;
    uint32_t a[atoms][4];
#pragma unroll
    for (int m = 0; m < atoms; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        a[m][i] = pack2<Stored>(weights[m][2 * k + i / 2][i % 2 * 2],
                                weights[m][2 * k + i / 2][i % 2 * 2 + 1]);
#pragma unroll
    for (int pair = 0; pair < columns / 2; ++pair) {
      uint32_t rows[4];
      ldmatrix_x4_trans(rows,
                        b + Tile::at(lane & 15, 2 * pair + (lane >> 4)) + k * 16 * Tile::row_bytes);
#pragma unroll
      for (int m = 0; m < atoms; ++m) {
        mma_m16n8k16<Stored>(sums[m][2 * pair], a[m], rows[0], rows[1]);
        if (pair + 1 < columns / 2 || !half)
          mma_m16n8k16<Stored>(sums[m][2 * pair + 1], a[m], rows[2], rows[3]);
      }
    }
  }
}

// Writes a warp's sums, times a factor per row, to rows [first, first + 16 atoms) of a head. They
// pass through `stage`, shared memory for as many rows that only this warp uses, so that 16 bytes
// are written at a time.
template <class Tile, class Stored, int atoms, int columns>
__device__ __forceinline__ void store_rows(const Rows<Stored>& to, int first, unsigned char* stage,
                                           const float (&sums)[atoms][columns][4],
                                           const float (&factors)[atoms][2]) {
  const int lane = lane_index(), g = lane / 4, t = lane % 4;
  __syncwarp();
#pragma unroll
  for (int m = 0; m < atoms; ++m)
#pragma unroll
    for (int j = 0; j < columns; ++j)
#pragma unroll
      for (int h = 0; h < 2; ++h)
        *reinterpret_cast<uint32_t*>(stage + Tile::at(16 * m + 8 * h + g, j) + 4 * t) =
            pack2<Stored>(sums[m][j][2 * h] * factors[m][h], sums[m][j][2 * h + 1] * factors[m][h]);
  __syncwarp();
#pragma unroll
  for (int i = lane; i < 16 * atoms * columns; i += 32) {
    const int row = i / columns, slot = i % columns;
    if (first + row >= to.count || slot * 8 >= to.size) continue;
    const auto pack = load_pack(reinterpret_cast<const Stored*>(stage + Tile::at(row, slot)));
    Stored* const at = to.row(first + row) + slot * 8;
    if (to.packs) {
      store_pack(at, pack);
    } else {
#pragma unroll
      for (int e = 0; e < 8; ++e)
        if (slot * 8 + e < to.size) at[e] = pack.values[e];
    }
  }
}

}  // namespace emulsion::cuda::attention
