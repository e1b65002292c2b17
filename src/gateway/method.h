#pragma once

#include "darkroom/principal.h"

namespace darkroom {

// One method of the API, and who may call it. Those that there are stand in gateway/methods.h,
// which is made from the protos (make_methods.cc).
struct Method {
  const char* service;  // "darkroom.v1.GenerationService"
  const char* name;     // "CreateGeneration"
  Roles roles;
};

}  // namespace darkroom
