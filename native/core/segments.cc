#include "core/segments.h"

#include <iterator>

namespace emulsion {

void* Segments::take(size_t size, Owner owner) {
  const auto free = free_.find(owner);
  if (free == free_.end()) return nullptr;
  const auto smallest = free->second.lower_bound({size, nullptr});
  if (smallest == free->second.end()) return nullptr;
  const auto piece = pieces_.find(smallest->second);
  set_taken(piece);
  const size_t rest = piece->second.size - size;
  if (rest > 0) {
    piece->second.size = size;
    set_free(pieces_.emplace(piece->first + size, Piece{rest, false, false, owner}).first);
  }
  return piece->first;
}

void Segments::add(Segment segment) {
  set_free(
      pieces_.emplace(static_cast<char*>(segment.begin), Piece{segment.size, false, true}).first);
}

void Segments::give_back(void* block) {
  auto piece = pieces_.find(static_cast<char*>(block));
  const auto joins = [&](Pieces::iterator other) {
    return other->second.free && other->second.owner == piece->second.owner;
  };
  const auto next = std::next(piece);
  if (follows(next) && joins(next)) {
    set_taken(next);
    piece->second.size += next->second.size;
    pieces_.erase(next);
  }
  if (follows(piece)) {
    const auto before = std::prev(piece);
    if (joins(before)) {
      set_taken(before);
      before->second.size += piece->second.size;
      pieces_.erase(piece);
      piece = before;
    }
  }
  set_free(piece);
}

Segments::Segment Segments::remove_unused() {
  const auto& free = free_[nullptr];
  for (auto largest = free.rbegin(); largest != free.rend(); ++largest) {
    const auto piece = pieces_.find(largest->second);
    if (follows(piece) || follows(std::next(piece))) continue;
    const Segment segment{piece->first, piece->second.size};
    set_taken(piece);
    pieces_.erase(piece);
    return segment;
  }
  return {};
}

size_t Segments::disown(Owner owner) {
  const auto owned = free_.extract(owner);
  size_t bytes = 0;
  for (auto& [begin, piece] : pieces_)
    if (piece.owner == owner) piece.owner = nullptr;
  if (owned.empty()) return bytes;
  for (const auto& [size, begin] : owned.mapped()) pieces_.at(begin).free = false;
  for (const auto& [size, begin] : owned.mapped()) {
    bytes += size;
    give_back(begin);
  }
  return bytes;
}

void Segments::set_free(Pieces::iterator piece) {
  piece->second.free = true;
  free_[piece->second.owner].emplace(piece->second.size, piece->first);
}

void Segments::set_taken(Pieces::iterator piece) {
  piece->second.free = false;
  free_[piece->second.owner].erase({piece->second.size, piece->first});
}

bool Segments::follows(Pieces::iterator piece) const {
  return piece != pieces_.end() && !piece->second.first;
}

}  // namespace emulsion
