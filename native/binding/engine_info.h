// What the addon was built with and what it uses here, for lib/native.ts's EngineInfo.
#pragma once

#include <napi.h>

namespace emulsion::binding {

Napi::Object engine_info(Napi::Env env);

}  // namespace emulsion::binding
