#include "core/device.h"

namespace emulsion {

void transfer(Device& source, const void* from, Device& target, void* to, size_t bytes) {
  // Page-locked memory, where a GPU is at one of the ends.
  Device& owner = source.engine() == Engine::cuda ? source : target;
  std::shared_ptr<void> staged = owner.staging(bytes);
  auto arrived = std::make_shared<std::promise<void>>();
  std::shared_future<void> ready = arrived->get_future().share();
  source.read_then(staged.get(), from, bytes,
                   [arrived, staged](std::unique_ptr<std::exception_ptr> fault) {
                     if (fault)
                       arrived->set_exception(*fault);
                     else
                       arrived->set_value();
                   });
  target.write_when(std::move(ready), to, std::move(staged), bytes);
}

}  // namespace emulsion
