// Slices along an axis, named by their number.
//
// select: a thread copies units of up to 16 bytes; bandwidth is the roof.
// add: y is written once, slice by slice, from the slices of src that its id names. Few ids are
// looked through by every thread. Many are sorted first, by (id, position):
//   sort    2048 keys a block, a bitonic network in shared memory
//   merge   a key's place is the number of smaller keys, found by bisection in every sorted tile;
//           the first key of an id leaves its place in `first`
//   sum     a thread makes 16 bytes of a slice of y; it finds its run of keys by `first`
//   sum of long runs, where too few threads would share one (padding tokens): a block per run and
//           32 packs, whose warps sum consecutive parts, added in order
// Writing y is the roof as long as ids are few beside the extent, else reading src.
#include "cuda/slices.h"

#include "cuda/walk.cuh"

namespace emulsion::cuda {
namespace {

// ---- select

template <class Unit, class Id, bool wide>
__global__ void select_kernel(const Unit* x, const Id* ids, Unit* y, int64_t count,
                              Extent<wide> units, Extent<wide> slices, int64_t extent,
                              int64_t inner) {
  stream(
      count,
      [&](int64_t i) {
        Index<wide> unit, slice;
        const Index<wide> row = units(static_cast<Index<wide>>(i), unit);
        const int64_t outer = slices(row, slice), id = ids[slice];
        return id >= 0 && id < extent ? x[(outer * extent + id) * inner + unit] : Unit{};
      },
      [&](int64_t i, Unit value) { y[i] = value; });
}

// ---- keys: the id above, the position below

using Key = unsigned long long;
constexpr uint32_t nowhere = 0xffffffffu;  // of ids outside the extent, and in `first`
constexpr int tile_keys = 2048, tile_threads = tile_keys / 2;

__device__ __forceinline__ uint32_t id_of(Key key) { return static_cast<uint32_t>(key >> 32); }
__device__ __forceinline__ uint32_t position_of(Key key) { return static_cast<uint32_t>(key); }

// Sorts each tile of keys; starts `first`.
template <class Id>
__global__ void __launch_bounds__(tile_threads)
    sort_tiles(const Id* ids, int64_t count, int64_t extent, Key* sorted, uint32_t* first) {
  EMULSION_SHARED(Key, keys, [tile_keys]);
  for (int64_t i = grid_thread(); i < extent; i += grid_threads()) first[i] = nowhere;

  const int64_t begin = static_cast<int64_t>(blockIdx.x) * tile_keys;
  const int held = static_cast<int>(::min(count - begin, static_cast<int64_t>(tile_keys)));
  int padded = 64;  // of a warp at least
  while (padded < held) padded *= 2;
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < padded; i += tile_threads) {
    Key key = ~Key{0};
    if (i < held) {
      const int64_t position = begin + i, id = ids[position];
      const uint32_t high = id >= 0 && id < extent ? static_cast<uint32_t>(id) : nowhere;
      key = static_cast<Key>(high) << 32 | static_cast<Key>(position);
    }
    keys[i] = key;
  }
  __syncthreads();
  // A warp's pairs lie in 64 keys of its own as long as they are at most 32 apart.
  for (int size = 2; size <= padded; size *= 2)
    for (int apart = size / 2; apart > 0; apart /= 2) {
      if (thread < padded / 2) {
        const int a = 2 * thread - (thread & (apart - 1)), b = a + apart;
        const Key low = keys[a], high = keys[b];
        if ((low > high) == ((a & size) == 0)) {
          keys[a] = high;
          keys[b] = low;
        }
      }
      if (apart > 32 || (apart == 1 && size > 32))
        __syncthreads();
      else
        __syncwarp();
    }
  __syncthreads();
  for (int i = thread; i < held; i += tile_threads) sorted[begin + i] = keys[i];
}

// How many of the ascending keys are below `key`.
__device__ __forceinline__ int64_t count_below(const Key* keys, int64_t count, Key key) {
  int64_t low = 0;
  while (count > 0) {
    const int64_t half = count / 2;
    if (keys[low + half] < key) {
      low += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  return low;
}

__global__ void merge_tiles(const Key* tiles, int64_t count, Key* sorted, uint32_t* first) {
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const Key key = tiles[i];
    const int64_t own = i / tile_keys * tile_keys;
    int64_t place = i - own;
    bool leads = i == own || id_of(tiles[i - 1]) != id_of(key);
    for (int64_t tile = 0; tile < count; tile += tile_keys) {
      if (tile == own) continue;
      const Key* others = tiles + tile;
      const int64_t below =
          count_below(others, ::min(count - tile, static_cast<int64_t>(tile_keys)), key);
      leads = leads && (below == 0 || id_of(others[below - 1]) != id_of(key));
      place += below;
    }
    sorted[place] = key;
    if (leads && id_of(key) != nowhere) first[id_of(key)] = static_cast<uint32_t>(place);
  }
}

// ---- sums

// What every sum works on. inner: in packs.
template <class T>
struct Slices {
  const T* x;  // or nullptr
  const T* src;
  T* y;
  int64_t count, outer, extent, inner;
};

template <class T, int width>
struct Total {
  float values[width];

  __device__ __forceinline__ void start(const T* x) {
#pragma unroll
    for (float& value : values) value = 0.0f;
    if (x) add(load_pack<T, width>(x));
  }
  __device__ __forceinline__ void add(const Pack<T, width>& pack) {
#pragma unroll
    for (int e = 0; e < width; ++e) values[e] += widen(pack.values[e]);
  }
  __device__ __forceinline__ void store(T* y) const {
    Pack<T, width> pack;
#pragma unroll
    for (int e = 0; e < width; ++e) pack.values[e] = narrow<T>(values[e]);
    store_pack(y, pack);
  }
};

// Where a thread's pack lies.
template <bool wide>
struct Place {
  int64_t outer, slice, pack;

  __device__ __forceinline__ Place(int64_t i, const Extent<wide>& packs,
                                   const Extent<wide>& slices) {
    Index<wide> at_pack, at_slice;
    const Index<wide> row = packs(static_cast<Index<wide>>(i), at_pack);
    outer = slices(row, at_slice);
    slice = at_slice;
    pack = at_pack;
  }
};

constexpr int few = 16;

template <class T, class Id, int width, bool wide>
__global__ void sum_few(Slices<T> in, const Id* ids, Extent<wide> packs, Extent<wide> slices) {
  const int64_t size = in.outer * in.extent * in.inner;
  for (int64_t i = grid_thread(); i < size; i += grid_threads()) {
    const Place<wide> at(i, packs, slices);
    const T* src = in.src + (at.outer * in.count * in.inner + at.pack) * width;
    Total<T, width> total;
    total.start(in.x ? in.x + i * width : nullptr);
    for (int64_t k = 0; k < in.count; ++k)
      if (static_cast<int64_t>(ids[k]) == at.slice)
        total.add(load_pack<T, width>(src + k * in.inner * width));
    total.store(in.y + i * width);
  }
}

// Adds the slices of src that the keys [begin, end) name, several loads under way at once.
template <int under_way, class T, int width>
__device__ __forceinline__ void add_run(Total<T, width>& total, const T* src, int64_t inner,
                                        const Key* keys, int64_t begin, int64_t end) {
  for (int64_t k = begin; k < end; k += under_way) {
    uint32_t positions[under_way];
    Pack<T, width> packs[under_way];
#pragma unroll
    for (int u = 0; u < under_way; ++u) positions[u] = position_of(keys[::min(k + u, end - 1)]);
#pragma unroll
    for (int u = 0; u < under_way; ++u)
      packs[u] = load_pack<T, width>(src + positions[u] * inner * width);
#pragma unroll
    for (int u = 0; u < under_way; ++u)
      if (k + u < end) total.add(packs[u]);
  }
}

// Runs longer than this are left to sum_long.
constexpr int64_t long_run = 64;

template <class T, int width, bool wide>
__global__ void __launch_bounds__(stream_threads)
    sum_runs(Slices<T> in, const Key* keys, const uint32_t* first, Extent<wide> packs,
             Extent<wide> slices, bool leave_long) {
  const int64_t size = in.outer * in.extent * in.inner;
  for (int64_t i = grid_thread(); i < size; i += grid_threads()) {
    const Place<wide> at(i, packs, slices);
    const auto id = static_cast<uint32_t>(at.slice);
    Total<T, width> total;
    total.start(in.x ? in.x + i * width : nullptr);
    const int64_t begin = first[id];
    if (begin != nowhere) {
      const int64_t beyond = begin + long_run;
      int64_t end = begin + 1;
      if (beyond < in.count && id_of(keys[beyond]) == id) {
        if (leave_long) continue;
        end =
            beyond + 1 +
            count_below(keys + beyond + 1, in.count - beyond - 1, (static_cast<Key>(id) + 1) << 32);
      } else {
        while (end < in.count && id_of(keys[end]) == id) ++end;
      }
      add_run<4>(total, in.src + (at.outer * in.count * in.inner + at.pack) * width, in.inner, keys,
                 begin, end);
    }
    total.store(in.y + i * width);
  }
}

constexpr int long_warps = 16;

// Of `long_run` keys at most one long run begins in them, and ends beyond them: a block looks at so
// many keys and sums that run, if there is one, for 32 packs.
template <class T, int width>
__global__ void __launch_bounds__(long_warps * 32, 1)
    sum_long(Slices<T> in, const Key* keys, const uint32_t* first, int64_t windows,
             int64_t columns) {
  EMULSION_SHARED(float, partial, [long_warps * 32 * width]);
  const int64_t window = blockIdx.x % windows, rest = blockIdx.x / windows;
  const int64_t outer = rest / columns;
  const int64_t last = window * long_run + long_run - 1;
  if (last + 1 >= in.count) return;
  const uint32_t id = id_of(keys[last]);
  if (id == nowhere) return;
  const int64_t begin = first[id];
  if (begin < window * long_run || begin + long_run >= in.count ||
      id_of(keys[begin + long_run]) != id)
    return;
  const int64_t length =
      count_below(keys + begin, in.count - begin, (static_cast<Key>(id) + 1) << 32);

  const int64_t pack = rest % columns * 32 + lane_index();
  const int64_t part = (length + long_warps - 1) / long_warps;
  const int64_t from = begin + warp_index() * part, end = begin + length;
  Total<T, width> total;
  total.start(nullptr);
  if (pack < in.inner)
    add_run<8>(total, in.src + (outer * in.count * in.inner + pack) * width, in.inner, keys, from,
               ::min(from + part, end));
#pragma unroll
  for (int e = 0; e < width; ++e)
    partial[(warp_index() * width + e) * 32 + lane_index()] = total.values[e];
  __syncthreads();
  if (warp_index() > 0 || pack >= in.inner) return;
  const int64_t to = ((outer * in.extent + id) * in.inner + pack) * width;
  total.start(in.x ? in.x + to : nullptr);
  for (int warp = 0; warp < long_warps; ++warp)
#pragma unroll
    for (int e = 0; e < width; ++e)
      total.values[e] += partial[(warp * width + e) * 32 + lane_index()];
  total.store(in.y + to);
}

// Blocks of sum_long per window of keys; where it takes more, enough threads share a run as it is.
constexpr int64_t most_columns = 128;

template <class T, int width, bool wide>
void add_packs(const char* op, Slices<T> in, const View& ids) {
  in.inner /= width;
  const int64_t size = in.outer * in.extent * in.inner;
  const Extent<wide> packs(in.inner), slices(in.extent);
  if (in.count <= few)
    return dispatch_index(ids.dtype, [&]<class Id>() {
      launch(op, sum_few<T, Id, width, wide>, stream_grid(size), in, ids.as<Id>(), packs, slices);
    });
  const Workspace keys(2 * in.count * static_cast<int64_t>(sizeof(Key)));
  const Workspace starts(in.extent * static_cast<int64_t>(sizeof(uint32_t)));
  Key *tiles = keys.as<Key>(), *sorted = tiles + in.count;
  auto* first = starts.as<uint32_t>();
  const Grid grid{dim3(static_cast<unsigned>(ceil_div(in.count, tile_keys))), dim3(tile_threads)};
  dispatch_index(ids.dtype, [&]<class Id>() {
    launch(op, sort_tiles<Id>, grid, ids.as<Id>(), in.count, in.extent, tiles, first);
  });
  launch(op, merge_tiles, stream_grid(in.count), static_cast<const Key*>(tiles), in.count, sorted,
         first);
  const int64_t columns = ceil_div(in.inner, 32);
  const bool leave_long = in.count > long_run && in.outer * columns <= most_columns;
  launch(op, sum_runs<T, width, wide>, stream_grid(size), in, static_cast<const Key*>(sorted),
         static_cast<const uint32_t*>(first), packs, slices, leave_long);
  if (!leave_long) return;
  const int64_t windows = ceil_div(in.count, long_run);
  const Grid blocks{dim3(static_cast<unsigned>(windows * columns * in.outer)),
                    dim3(long_warps * 32)};
  launch(op, sum_long<T, width>, blocks, in, static_cast<const Key*>(sorted),
         static_cast<const uint32_t*>(first), windows, columns);
}

}  // namespace

void select_slices(const char* op, const View& x, const View& ids, int64_t outer, int64_t extent,
                   int64_t inner, View& y) {
  if (y.numel() == 0) return;
  const int64_t bytes = inner * dtype_size(x.dtype);
  const int64_t unit = widest_unit({address(x.data), address(y.data), bytes});
  const int64_t units = bytes / unit, slices = ids.numel(), count = outer * slices * units;
  dispatch_unit(unit, [&]<class Unit>() {
    dispatch_index(ids.dtype, [&]<class Id>() {
      dispatch_wide(count, [&]<bool wide>() {
        launch(op, select_kernel<Unit, Id, wide>, batched_grid(count), x.as<Unit>(), ids.as<Id>(),
               y.as<Unit>(), count, Extent<wide>(units), Extent<wide>(slices), extent, units);
      });
    });
  });
}

void add_slices(const char* op, const View& x, const View& ids, const View& src, int64_t outer,
                int64_t extent, int64_t inner, View& y) {
  const int64_t size = outer * extent * inner, count = ids.numel();
  EMULSION_CHECK(extent < nowhere && count < nowhere, op, ": ", count, " ids of ", extent,
                 " slices are too many");
  dispatch_float(y.dtype, op, [&]<class T>() {
    if (size == 0) return;
    constexpr int width = 16 / sizeof(T);
    const Slices<T> in{
        x.present ? x.as<T>() : nullptr, src.as<T>(), y.as<T>(), count, outer, extent, inner};
    if (is_wide(size)) return add_packs<T, 1, true>(op, in, ids);
    if (inner % width == 0 && vectors(x.data, src.data, y.data))
      return add_packs<T, width, false>(op, in, ids);
    add_packs<T, 1, false>(op, in, ids);
  });
}

}  // namespace emulsion::cuda
