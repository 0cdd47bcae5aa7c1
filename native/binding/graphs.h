// Recorded work by number, and the recording under way. A graph holds every tensor from outside
// that its work uses: a replay finds them alive, whoever else has let go of them.
#pragma once

#include <memory>
#include <unordered_map>
#include <unordered_set>

#include "core/handles.h"

namespace emulsion::binding {

class Graphs {
 public:
  ~Graphs() { clear(); }

  // Shares the memory of the graph of that number, if there is one.
  void begin(Device& device, int64_t sharing);
  // The graph's number.
  int64_t end();
  // Ends a recording and forgets it.
  void cancel();
  void replay(int64_t id);
  // Whether the number named a graph.
  bool release(int64_t id) { return graphs_.erase(id) > 0; }
  void clear();

  bool recording() const { return recording_ != nullptr; }
  // Told of every tensor that an operation is called with.
  void use(Storage* storage) {
    if (recording_ && storage->device == recording_->device) recording_->hold(storage);
  }

 private:
  struct Entry {
    explicit Entry(Device& of) : device(&of) {}
    ~Entry();
    void hold(Storage* storage);

    Device* device;
    std::unordered_set<Storage*> held;
    std::unique_ptr<Graph> graph;
  };

  std::unique_ptr<Entry> recording_;
  std::unordered_map<int64_t, std::unique_ptr<Entry>> graphs_;
  int64_t next_ = 1;
};

}  // namespace emulsion::binding
