#include "binding/graphs.h"

namespace emulsion::binding {

Graphs::Entry::~Entry() {
  graph.reset();
  for (Storage* storage : held) Handles::unreference(storage);
}

// What recorded work makes itself lives in blocks of the graph's own.
void Graphs::Entry::hold(Storage* storage) {
  if (device->allocator().is_pooled(storage->block, storage->bytes)) return;
  if (held.insert(storage).second) ++storage->references;
}

void Graphs::begin(Device& device, int64_t sharing) {
  EMULSION_CHECK(!recording_, "beginCapture: a recording is under way");
  const auto other = graphs_.find(sharing);
  if (other == graphs_.end()) {
    device.begin_capture();
  } else {
    EMULSION_CHECK(other->second->device == &device,
                   "beginCapture: memory is shared by graphs of one device");
    device.begin_capture(other->second->graph.get());
  }
  recording_ = std::make_unique<Entry>(device);
}

int64_t Graphs::end() {
  EMULSION_CHECK(recording_, "endCapture: no recording is under way");
  std::unique_ptr<Entry> entry = std::move(recording_);
  entry->graph = entry->device->end_capture();
  graphs_[next_] = std::move(entry);
  return next_++;
}

void Graphs::cancel() {
  EMULSION_CHECK(recording_, "cancelCapture: no recording is under way");
  const std::unique_ptr<Entry> entry = std::move(recording_);
  try {
    entry->graph = entry->device->end_capture();
  } catch (const Error&) {
    // Whoever cancels has a reason of his own already.
  }
}

void Graphs::replay(int64_t id) {
  const auto found = graphs_.find(id);
  EMULSION_CHECK(found != graphs_.end(), "replay: no graph has the number ", id);
  EMULSION_CHECK(!recording_, "replay: a recording is under way");
  found->second->device->replay(*found->second->graph);
}

void Graphs::clear() {
  if (recording_) cancel();
  graphs_.clear();
}

}  // namespace emulsion::binding
