// A device whose work runs on the host: one in-order queue thread. The CPU engine is one.
#pragma once

#include "core/device.h"

namespace emulsion {

// The memory of such a device.
class HostMemory {
 public:
  virtual ~HostMemory() = default;
  virtual void* acquire(size_t bytes) = 0;  // nullptr when there is none
  virtual void release(void* block, size_t bytes) = 0;
  virtual void write(void* to, const void* from, size_t bytes) = 0;  // into a block
  virtual void read(void* to, const void* from, size_t bytes) = 0;   // out of one
};

std::unique_ptr<Device> make_queue_device(std::string name, Engine engine,
                                          std::unique_ptr<HostMemory> memory, Reuse reuse);

}  // namespace emulsion
