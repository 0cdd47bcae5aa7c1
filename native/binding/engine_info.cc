#include "binding/engine_info.h"

#include "binding/instance.h"
#include "binding/ops.h"
#include "cpu/caches.h"
#include "cpu/parallel.h"

namespace emulsion::binding {

#if defined(EMULSION_HAS_cuda)
static Napi::Object describe(Napi::Env env, const CudaInfo& cuda) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("architectures", Napi::String::New(env, cuda.architectures));
  result.Set("runtime", Napi::Number::New(env, cuda.runtime));
  result.Set("driver", Napi::Number::New(env, cuda.driver));
  result.Set("reason", Napi::String::New(env, cuda.reason));
  Napi::Array gpus = Napi::Array::New(env);
  for (const CudaInfo::Gpu& gpu : cuda.gpus) {
    Napi::Object each = Napi::Object::New(env);
    each.Set("name", Napi::String::New(env, gpu.name));
    each.Set("capability", Napi::Number::New(env, gpu.capability));
    each.Set("memory", Napi::Number::New(env, static_cast<double>(gpu.memory)));
    each.Set("reason", Napi::String::New(env, gpu.reason));
    gpus.Set(gpus.Length(), each);
  }
  result.Set("gpus", gpus);
  return result;
}
#endif

Napi::Object engine_info(Napi::Env env) {
  Instance& owner = instance(env);
  Napi::Object result = Napi::Object::New(env);
  Napi::Array devices = Napi::Array::New(env), levels = Napi::Array::New(env),
              names = Napi::Array::New(env);
  for (int i = 0; i < owner.device_count(); ++i)
    devices.Set(static_cast<uint32_t>(i), Napi::String::New(env, owner.device(i).name()));
  uint32_t next = 0;
  for (Level level : compiled_levels())
    levels.Set(next++, Napi::String::New(env, level_name(level)));
  next = 0;
  for (const Kernel& kernel : kernels(active_level()))
    names.Set(next++, Napi::String::New(env, kernel.name));
  result.Set("devices", devices);
  result.Set("levels", levels);
  result.Set("level", Napi::String::New(env, level_name(active_level())));
  result.Set("threads", Napi::Number::New(env, cpu::num_threads()));
  Napi::Object caches = Napi::Object::New(env);
  caches.Set("core", Napi::Number::New(env, static_cast<double>(cpu::caches().core)));
  caches.Set("last", Napi::Number::New(env, static_cast<double>(cpu::caches().last)));
  result.Set("caches", caches);
  result.Set("kernels", names);
#if defined(EMULSION_HAS_cuda)
  result.Set("cuda", describe(env, cuda_info()));
#endif
  return result;
}

}  // namespace emulsion::binding
