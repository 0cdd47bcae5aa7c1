// The k first values of each line in order, and the gradient's way back.
//
// A value and its index make an entry; entries have one strict order, so every way of sorting gives
// the same result. ScanLines are cut into tiles of up to 2048 entries that a block sorts in shared
// memory (bitonic, 24 KB) and shortens to their first k; what remains is cut and sorted again until
// one tile is left: two launches for up to 400 k values at k = 10. Where k is larger than half a
// tile nothing can be cut off: then the whole lines, filled up to a power of two, are sorted by a
// bitonic network whose wide steps run in global memory. Latency-bound at small shapes; a wide step
// reads and writes 16 bytes per entry. A last launch copies the values bit for bit.
//
// Backward: a warp per line adds the gradients in the order of k, as 32 lanes at a time whose
// indices differ, equal ones one after the other.
#include <climits>

#include "cuda/scan_lines.cuh"
#include "ops/cast.h"
#include "ops/scan.h"

namespace emulsion::cuda {
namespace {

constexpr int tile = 2048;
constexpr int most_threads = tile / 4;  // two pairs each

struct alignas(16) Entry {
  unsigned long long order;
  unsigned long long index;

  // Behind every value.
  static __device__ __forceinline__ Entry none() { return {0, ULLONG_MAX}; }
};

// The entries of a block: apart, so that neighbours lie in neighbouring banks.
struct Board {
  unsigned long long* orders;
  uint32_t* indices;

  __device__ __forceinline__ bool in_order(int i, int j) const {
    return orders[i] > orders[j] || (orders[i] == orders[j] && indices[i] < indices[j]);
  }
  __device__ __forceinline__ void swap(int i, int j) const {
    const unsigned long long order = orders[i];
    const uint32_t index = indices[i];
    orders[i] = orders[j], indices[i] = indices[j];
    orders[j] = order, indices[j] = index;
  }
};

// One step of a bitonic network over `size` entries, whose first has number `first` in the whole
// network: pairs `stride` apart, in runs of `run` that go up and down in turns.
__device__ __forceinline__ void exchange(const Board& board, int size, int64_t first, int64_t run,
                                         int stride) {
  for (int p = static_cast<int>(threadIdx.x); p < size / 2; p += static_cast<int>(blockDim.x)) {
    const int i = 2 * p - (p & (stride - 1)), j = i + stride;
    const bool forward = ((first + i) & run) == 0;
    if (board.in_order(i, j) != forward) board.swap(i, j);
  }
  __syncthreads();
}

__device__ __forceinline__ Board board_of(int size) {
  auto* orders = reinterpret_cast<unsigned long long*>(dynamic_shared());
  return {orders, reinterpret_cast<uint32_t*>(orders + size)};
}

// What a block sorts: n entries of each line, cut into tiles of `size`, a power of two.
struct Tiles {
  int64_t n, tiles;
  int size;
};

template <class Take, class Give>
__device__ __forceinline__ void sort_tile(const Tiles& cut, int64_t part, Take take, Give give) {
  const Board board = board_of(cut.size);
  for (int i = static_cast<int>(threadIdx.x); i < cut.size; i += static_cast<int>(blockDim.x)) {
    const int64_t place = part * cut.size + i;
    const Entry entry = place < cut.n ? take(place) : Entry::none();
    board.orders[i] = entry.order;
    board.indices[i] = static_cast<uint32_t>(entry.index);
  }
  __syncthreads();
  for (int run = 2; run <= cut.size; run *= 2)
    for (int stride = run / 2; stride > 0; stride /= 2)
      exchange(board, cut.size, 0, run == cut.size ? 0 : run, stride);
  for (int i = static_cast<int>(threadIdx.x); i < cut.size; i += static_cast<int>(blockDim.x))
    give(i, Entry{board.orders[i], board.indices[i]});
}

// to: [lines, tiles · k], of each tile the first k. Tiles have at least k entries, the last of a
// line less: what is missing is filled up with entries behind every value.
template <class T>
__global__ void __launch_bounds__(most_threads)
    sort_values(const T* x, ScanLines lines, Tiles cut, int k, bool largest, Entry* to) {
  const int64_t line = blockIdx.x / cut.tiles, part = blockIdx.x - line * cut.tiles;
  const T* from = x + lines.start(line, lines.n);
  Entry* own = to + static_cast<int64_t>(blockIdx.x) * k;
  sort_tile(
      cut, part,
      [&](int64_t i) {
        return Entry{order_of(from[i * lines.inner], largest), static_cast<unsigned long long>(i)};
      },
      [&](int i, const Entry& entry) {
        if (i < k) own[i] = entry;
      });
}

__global__ void __launch_bounds__(most_threads)
    sort_entries(const Entry* entries, Tiles cut, int k, Entry* to) {
  const int64_t line = blockIdx.x / cut.tiles, part = blockIdx.x - line * cut.tiles;
  const Entry* from = entries + line * cut.n;
  Entry* own = to + static_cast<int64_t>(blockIdx.x) * k;
  sort_tile(
      cut, part, [&](int64_t i) { return from[i]; },
      [&](int i, const Entry& entry) {
        if (i < k) own[i] = entry;
      });
}

// ---- whole lines, `padded` entries each

template <class T>
__global__ void enter_lines(const T* x, ScanLines lines, int64_t padded, bool largest, Entry* to) {
  for (int64_t i = grid_thread(); i < lines.count() * padded; i += grid_threads()) {
    const int64_t line = i / padded, place = i - line * padded;
    Entry entry = Entry::none();
    if (place < lines.n)
      entry = {order_of(x[lines.start(line, lines.n) + place * lines.inner], largest),
               static_cast<unsigned long long>(place)};
    to[i] = entry;
  }
}

// A wide step: run and stride as in exchange, stride at least a tile.
__global__ void exchange_wide(Entry* entries, int64_t pairs, int64_t padded, int64_t run,
                              int64_t stride) {
  for (int64_t p = grid_thread(); p < pairs; p += grid_threads()) {
    const int64_t i = 2 * p - (p & (stride - 1)), j = i + stride;
    const Entry a = entries[i], b = entries[j];
    const bool in_order = a.order > b.order || (a.order == b.order && a.index < b.index);
    const bool forward = run == padded || (i & run) == 0;
    if (in_order == forward) continue;
    entries[i] = b;
    entries[j] = a;
  }
}

// All steps of one run that stay inside a tile; of all runs up to a tile when `run` is one.
__global__ void __launch_bounds__(most_threads)
    exchange_tiles(Entry* entries, int64_t padded, int64_t run, bool from_start) {
  const Board board = board_of(tile);
  Entry* own = entries + static_cast<int64_t>(blockIdx.x) * tile;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * tile;
  for (int i = static_cast<int>(threadIdx.x); i < tile; i += static_cast<int>(blockDim.x)) {
    board.orders[i] = own[i].order;
    board.indices[i] = static_cast<uint32_t>(own[i].index);
  }
  __syncthreads();
  for (int64_t r = from_start ? 2 : run; r <= run; r *= 2)
    for (int stride = static_cast<int>(::min(r, int64_t{tile}) / 2); stride > 0; stride /= 2)
      exchange(board, tile, first, r == padded ? 0 : r, stride);
  for (int i = static_cast<int>(threadIdx.x); i < tile; i += static_cast<int>(blockDim.x))
    own[i] = {board.orders[i], board.indices[i]};
}

// entries: [lines, pitch], the first k of each are the result.
template <class T>
__global__ void write_results(const T* x, const Entry* entries, int64_t pitch, ScanLines lines,
                              int64_t k, T* values, int64_t* indices) {
  for (int64_t i = grid_thread(); i < lines.count() * k; i += grid_threads()) {
    // In the order of the results' memory: [outer, k, inner].
    const int64_t row = i / lines.inner, inside = i - row * lines.inner;
    const int64_t above = row / k, rank = row - above * k, line = above * lines.inner + inside;
    const auto index = static_cast<int64_t>(entries[line * pitch + rank].index);
    values[i] = x[lines.start(line, lines.n) + index * lines.inner];
    indices[i] = index;
  }
}

// ---- backward

template <class T>
__global__ void __launch_bounds__(stream_threads)
    add_back(const int64_t* indices, const T* dy, ScanLines lines, int64_t k, T* dx) {
  const int64_t line = grid_thread() / 32;
  if (line >= lines.count()) return;
  T* to = dx + lines.start(line, lines.n);
  const int64_t from = lines.start(line, k);
  for (int64_t first = 0; first < k; first += 32) {
    const int64_t i = first + lane_index();
    int64_t index = -1;  // nothing to do: behind the end, or outside and recorded as a fault
    float gradient = 0;
    if (i < k) {
      index = indices[from + i * lines.inner];
      gradient = widen(dy[from + i * lines.inner]);
      if (index < 0 || index >= lines.n) index = -1;
    }
    // The first of the lanes with one index adds for all of them.
    bool leads = index >= 0;
    float sum = leads ? widen(to[index * lines.inner]) : 0.0f;
    for (int lane = 0; lane < 32; ++lane) {
      const int64_t other = __shfl_sync(whole_warp, index, lane);
      const float value = __shfl_sync(whole_warp, gradient, lane);
      if (other != index) continue;
      if (lane < lane_index()) leads = false;
      sum = widen(narrow<T>(sum + value));
    }
    if (leads) to[index * lines.inner] = narrow<T>(sum);
    __syncwarp();
  }
}

// ---- launches

int64_t power_of_two(int64_t least) {
  int64_t power = 1;
  while (power < least) power *= 2;
  return power;
}

Grid tile_grid(int64_t blocks, int size) {
  const int pairs = std::clamp(size / 4, 32, most_threads);
  return {dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(pairs)),
          size * (sizeof(unsigned long long) + sizeof(uint32_t))};
}

Tiles tiles_of(int64_t n) {
  const int64_t size = std::min<int64_t>(tile, std::max<int64_t>(2, power_of_two(n)));
  return {n, ceil_div(n, size), static_cast<int>(size)};
}

void write(const View& x, const Entry* entries, int64_t pitch, const ScanLines& lines, int64_t k,
           View& values, View& indices) {
  dispatch_width(x.dtype, [&]<class W>() {
    launch("topK", write_results<W>, stream_grid(lines.count() * k),
           static_cast<const W*>(x.as<W>()), entries, pitch, lines, k, values.as<W>(),
           indices.as<int64_t>());
  });
}

// Tiles, and tiles of what they left.
template <class T>
void select(const View& x, const ScanLines& lines, int k, bool largest, View& values,
            View& indices) {
  Tiles cut = tiles_of(lines.n);
  const int64_t bytes = lines.count() * cut.tiles * k * static_cast<int64_t>(sizeof(Entry));
  const Workspace first(bytes), second(cut.tiles > 1 ? bytes : static_cast<int64_t>(sizeof(Entry)));
  Entry *from = second.as<Entry>(), *to = first.as<Entry>();
  launch("topK", sort_values<T>, tile_grid(lines.count() * cut.tiles, cut.size),
         static_cast<const T*>(x.as<T>()), lines, cut, k, largest, to);
  while (cut.tiles > 1) {
    cut = tiles_of(cut.tiles * k);
    std::swap(from, to);
    launch("topK", sort_entries, tile_grid(lines.count() * cut.tiles, cut.size),
           static_cast<const Entry*>(from), cut, k, to);
  }
  write(x, to, k, lines, k, values, indices);
}

template <class T>
void sort(const View& x, const ScanLines& lines, int64_t k, bool largest, View& values,
          View& indices) {
  const int64_t padded = power_of_two(lines.n), all = lines.count() * padded;
  const Workspace workspace(all * static_cast<int64_t>(sizeof(Entry)));
  auto* entries = workspace.as<Entry>();
  launch("topK", enter_lines<T>, stream_grid(all), static_cast<const T*>(x.as<T>()), lines, padded,
         largest, entries);
  const Grid tiles = tile_grid(all / tile, tile);
  launch("topK", exchange_tiles, tiles, entries, padded, int64_t{tile}, true);
  for (int64_t run = 2 * tile; run <= padded; run *= 2) {
    for (int64_t stride = run / 2; stride >= tile; stride /= 2)
      launch("topK", exchange_wide, stream_grid(all / 2), entries, all / 2, padded, run, stride);
    launch("topK", exchange_tiles, tiles, entries, padded, run, false);
  }
  write(x, entries, padded, lines, k, values, indices);
}

}  // namespace

void topk_forward(const View& x, int64_t axis, bool largest, View& values, View& indices) {
  const ScanLines lines = checked_topk(x, axis, values, indices);
  const int64_t k = values.dim(static_cast<int>(axis));
  EMULSION_CHECK(lines.n < UINT_MAX,
                 "topK: an axis has fewer than 2^32 - 1 elements on a GPU, got ", lines.n);
  if (k == 0 || lines.count() == 0) return;
  dispatch_orderable(x.dtype, "topK", [&]<class T>() {
    if (lines.n <= tile || 2 * k <= tile)
      select<T>(x, lines, static_cast<int>(k), largest, values, indices);
    else
      sort<T>(x, lines, k, largest, values, indices);
  });
}

void topk_backward(const View& indices, const View& dy, int64_t axis, View& dx) {
  const ScanLines lines = checked_topk_backward(indices, dy, axis, dx);
  const int64_t k = dy.dim(static_cast<int>(axis));
  dispatch_float(dx.dtype, "topK", [&]<class T>() {
    check_indices("topK", indices, lines.n);
    fill(0, dx);
    if (k == 0) return;
    launch("topK", add_back<T>,
           Grid{dim3(static_cast<unsigned>(ceil_div(lines.count() * 32, stream_threads))),
                dim3(stream_threads)},
           static_cast<const int64_t*>(indices.as<int64_t>()), static_cast<const T*>(dy.as<T>()),
           lines, k, dx.as<T>());
  });
}

}  // namespace emulsion::cuda
