// Large blocks: pieces of segments that come from the system. A request takes the smallest free
// piece that holds it and leaves the rest free; a piece given back joins its free neighbours.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <utility>

namespace emulsion {

class Segments {
 public:
  struct Segment {
    void* begin = nullptr;
    size_t size = 0;
  };
  // Whom a piece is kept for while it is free; nullptr: for anybody. Free neighbours join if they
  // have one owner.
  using Owner = const void*;

  // A piece of this size of what is free for the owner, or nullptr when none is large enough.
  void* take(size_t size, Owner owner = nullptr);
  // Adds a segment, free as a whole.
  void add(Segment segment);
  void give_back(void* piece);
  // Takes out the largest segment of which nothing is in use or owned, or an empty one when there
  // is none.
  Segment remove_unused();

  Owner owner_of(void* piece) const { return pieces_.at(static_cast<char*>(piece)).owner; }
  // Of a piece that is taken.
  void set_owner(void* piece, Owner owner) { pieces_.at(static_cast<char*>(piece)).owner = owner; }
  // Makes everybody's what is the owner's. Returns how many bytes of it are free.
  size_t disown(Owner owner);

 private:
  struct Piece {
    size_t size;
    bool free;
    bool first;  // of its segment
    Owner owner = nullptr;
  };
  using Pieces = std::map<char*, Piece>;

  void set_free(Pieces::iterator piece);
  void set_taken(Pieces::iterator piece);
  // Whether a piece lies behind another one of its segment.
  bool follows(Pieces::iterator piece) const;

  Pieces pieces_;  // all, by their addresses
  std::map<Owner, std::set<std::pair<size_t, char*>>> free_;
};

}  // namespace emulsion
