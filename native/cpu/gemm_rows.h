// How products read A: the blocks of the reduction, the sources that name the memory of its rows,
// and the tiles of rows that the kernels of gemm_kernel.h take, in place or packed by slices.
#pragma once

#include <atomic>

#include "cpu/gemm_pack.h"
#include "cpu/parallel.h"

namespace emulsion::cpu::EMULSION_LEVEL {

// How the reduction is cut: blocks of several whole segments, or pieces of one long segment.
struct DepthPlan {
  int64_t segments, length;  // depth = segments · length
  int64_t group, pieces;     // segments per block; blocks per segment. One of the two is 1.

  static constexpr int64_t target = 192, group_target = 256, max_group = 32;

  // `whole`: the longest segment that is not cut.
  EMULSION_INLINE DepthPlan(int64_t segments, int64_t length, int64_t whole)
      : segments(segments), length(length) {
    pieces = length > whole ? (length + target - 1) / target : 1;
    group = 1;
    if (pieces == 1 && length > 0) group = (group_target + length / 2) / length;
    group = group < 1 ? 1 : group > max_group ? max_group : group;
  }
  EMULSION_INLINE int64_t blocks() const {
    return length == 0 ? 0 : pieces > 1 ? segments * pieces : (segments + group - 1) / group;
  }

  struct Block {
    int64_t segment, segments, offset, length;
    int64_t start;  // position in the packed reduction
    int64_t index;  // of the block
  };
  EMULSION_INLINE Block block(int64_t index) const {
    if (pieces > 1) {
      const int64_t segment = index / pieces, piece = index % pieces;
      const int64_t offset = length * piece / pieces, end = length * (piece + 1) / pieces;
      return {segment, 1, offset, end - offset, segment * length + offset, index};
    }
    const int64_t segment = index * group;
    const int64_t rest = segments - segment;
    return {segment, rest < group ? rest : group, 0, length, segment * length, index};
  }
  // The longest block, for the size of a packed slice of A.
  EMULSION_INLINE int64_t longest() const {
    return pieces > 1 ? (length + pieces - 1) / pieces
                      : (group < segments ? group : segments) * length;
  }
};

// How the kernels read A: rows that are contiguous along the reduction or, of a transposed matrix,
// columns that lie side by side, both in place; or slices that were packed before.
enum class Reading { rows, columns, packed };

// Whether what is `stride` bytes apart, rows or the steps of a transposed matrix, is better packed:
// where it falls into one set of an 8-way L1, or into two and more than a few panels share the
// cost.
EMULSION_INLINE bool better_packed(int64_t stride, int64_t panels) {
  return share_sets(stride) || (share_sets(2 * stride) && panels > 4);
}

// A source of A. `pointers` fills table[segment][i] (Tile::rows apart) for rows row..row+count.
// `MatrixRows` is a plain matrix; a convolution has its own (conv2d_geometry.h).
template <class T, class Stored>
struct MatrixRows {
  using Element = Stored;
  const Stored* data;
  int64_t ld;
  bool transposed;  // stored as [depth][ld]
  int64_t segments, length;

  static constexpr int64_t whole = DepthPlan::target;  // the longest segment that is not cut

  EMULSION_INLINE MatrixRows(const Stored* data, int64_t ld, bool transposed, int64_t depth)
      : data(data), ld(ld), transposed(transposed), segments(1), length(depth) {}

  EMULSION_INLINE Reading reading(int64_t panels) const {
    const int64_t stride = ld * static_cast<int64_t>(sizeof(T));
    if (better_packed(stride, panels) || (transposed && !Tile<T>::in_place)) return Reading::packed;
    return transposed ? Reading::columns : Reading::rows;
  }
  EMULSION_INLINE int64_t pitch() const { return ld; }  // from row to row
  // Step `start` of a transposed matrix, whose rows lie side by side, from `row` on; of others
  // null.
  EMULSION_INLINE const Stored* columns(int64_t row, int64_t start) const {
    return transposed ? data + start * ld + row : nullptr;
  }
  EMULSION_INLINE void walk(int64_t row, int64_t count, int64_t, int64_t offset,
                            const Stored** to) const {
    for (int64_t i = 0; i < count; ++i) to[i] = data + (row + i) * ld + offset;
  }
  EMULSION_INLINE void pointers(int64_t row, int count, const DepthPlan::Block& block,
                                const Stored** table) const {
    walk(row, count, 0, block.offset, table);
  }
  EMULSION_INLINE void pack(int64_t row, int count, const DepthPlan::Block& block, T* panel) const {
    if (transposed)
      return pack_straight(columns(row, block.start), ld, count, block.length, panel, count,
                           block.start + block.length < length);
    const Stored* rows[Tile<T>::rows];
    pointers(row, count, block, rows);
    pack_transposed(rows, count, block.length, panel, count);
  }
};

// Where the parts of a product share rows of A, a thread that packed them has them for the next
// part too: which they are, of which product. Scratch slot 1 holds them.
struct PackedRows {
  uint64_t product;
  int64_t row, row_end;
  friend bool operator==(const PackedRows&, const PackedRows&) = default;
};
inline thread_local PackedRows packed_rows{};
// Never 0.
inline uint64_t number_of_product() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

// The rows of a part, tile by tile, as the kernels read them: `take` a tile, then multiply it by
// panels of B. `product`: its number if rows are kept for its other parts, else 0. Uses scratch
// slot 1.
template <class T, class Source>
class RowTiles {
  using Stored = typename Source::Element;
  static constexpr bool same_type = __is_same(Stored, T);

 public:
  EMULSION_INLINE RowTiles(const Source& a, int64_t row, int64_t rows, const DepthPlan& plan,
                           int64_t panels, uint64_t product)
      : a_(a),
        row_(row),
        rows_(rows),
        count_((rows + Tile<T>::rows - 1) / Tile<T>::rows),
        reading_(same_type ? a.reading(panels) : Reading::packed),
        together_(a.columns(row, 0) ? most_together : 1),
        apart_(plan.longest() * Tile<T>::rows + Tile<T>::columns) {
    if (reading_ != Reading::packed) return;
    const int64_t all = plan.blocks() * count_ * apart_;
    keeps_ = product != 0 && all * static_cast<int64_t>(sizeof(T)) <= most_kept;
    slices_ = scratch<T>(1, keeps_ ? all : together_ * apart_);
    if (!keeps_) return;
    const PackedRows wanted{product, row, row + rows};
    has_ = packed_rows == wanted;
    packed_rows = wanted;  // by the end of this part
  }

  EMULSION_INLINE int64_t count() const { return count_; }

  // Tiles of a block of the reduction are taken in order.
  EMULSION_INLINE void take(int64_t tile, const DepthPlan::Block& block) {
    first_ = row(tile);
    height_ = static_cast<int>(row(tile + 1) - first_);
    block_ = block;
    if (reading_ == Reading::rows) {
      a_.pointers(first_, height_, block, table_);
    } else if (reading_ == Reading::packed) {
      const int64_t slice = tile % together_, rest = count_ - tile;
      T* const slices = slices_ + (keeps_ ? block.index * count_ + tile - slice : 0) * apart_;
      if (slice == 0 && !has_) pack(tile, rest < together_ ? rest : together_, slices);
      slice_ = slices + slice * apart_;
    }
  }
  // The tile that was taken.
  EMULSION_INLINE int64_t row() const { return first_; }
  EMULSION_INLINE int height() const { return height_; }

  // Of the rows of the tile that follows, those to ask for while the one that was taken meets the
  // `index`-th panel: two, since a step asks for one place of each. Low tiles pass sooner than
  // their rows would come, columns are asked for as they are packed, and what has been packed lies
  // in a row.
  EMULSION_INLINE Ahead<T> next_rows(int64_t index) const {
    if constexpr (same_type && Tile<T>::in_place) {
      const bool are_read =
          reading_ == Reading::rows || (reading_ == Reading::packed && !has_ && together_ == 1);
      const int64_t next = first_ + height_ + 2 * index;
      if (are_read && block_.segments == 1 && 2 * index < height_ && next + 1 < row_ + rows_) {
        const Stored* rows[2];
        a_.walk(next, 2, block_.segment, block_.offset, rows);
        return {rows[0], 1, rows[1] - rows[0]};
      }
    }
    return {};
  }

  EMULSION_INLINE void multiply(int vectors, const Steps<T>& b, const Ahead<T>& ahead,
                                const Place<T>& place) const {
    if constexpr (same_type) {
      if (reading_ == Reading::rows)
        return rows_kernel<T>(height_, vectors, ahead.asks())(
            block_.segments, block_.length, table_, b.from, b.apart, ahead, place);
      if (reading_ == Reading::columns) {
        const Run<T> run{0, block_.length, b.from};
        return runs_kernel<T>(height_, vectors, ahead.asks())(
            &run, 1, b.apart, 0, a_.columns(first_, block_.start), a_.pitch(), ahead, place);
      }
    }
    packed_kernel<T>(height_, vectors, ahead.asks())(block_.segments * block_.length, slice_,
                                                     b.from, b.apart, ahead, place);
  }

 private:
  static constexpr int64_t most_kept = 4 << 20;  // bytes
  // Tiles packed at once: so many columns of a transposed A are seven lines of each row.
  static constexpr int64_t columns_together = 112, most_together = columns_together / Tile<T>::rows;

  EMULSION_INLINE int64_t row(int64_t tile) const { return row_ + rows_ * tile / count_; }

  // Packs the slices of `tiles` tiles. Where rows lie side by side, a few steps of all tiles at a
  // time: a line that two tiles share is fetched once.
  void pack(int64_t tile, int64_t tiles, T* slices) {
    constexpr int64_t steps_together = 8;
    const int64_t stretch = together_ > 1 ? steps_together : block_.length;
    int64_t rows[most_together + 1];
    for (int64_t t = 0; t <= tiles; ++t) rows[t] = row(tile + t);
    for (int64_t at = 0; at < block_.length; at += stretch) {
      // Steps lie in different pages, beyond which no processor looks ahead.
      for (int64_t i = at + stretch; i < at + 2 * stretch && i < block_.length; ++i)
        prefetch_run(a_.columns(rows[0], block_.start + i), rows[tiles] - rows[0]);
      for (int64_t t = 0; t < tiles; ++t) {
        const int64_t count = rows[t + 1] - rows[t], rest = block_.length - at;
        a_.pack(rows[t], static_cast<int>(count),
                {block_.segment, block_.segments, block_.offset + at,
                 rest < stretch ? rest : stretch, block_.start + at, block_.index},
                slices + t * apart_ + at * count);
      }
    }
  }

  const Source& a_;
  const int64_t row_, rows_, count_;
  const Reading reading_;
  const int64_t together_;  // slices packed at once
  const int64_t apart_;     // values from slice to slice
  T* slices_ = nullptr;
  bool keeps_ = false, has_ = false;  // the slices of all tiles and blocks; from the part before
  const T* slice_ = nullptr;
  const Stored* table_[DepthPlan::max_group * Tile<T>::rows];
  DepthPlan::Block block_{};
  int64_t first_ = 0;
  int height_ = 0;
};

}  // namespace emulsion::cpu::EMULSION_LEVEL
