#pragma once

#include <string>

#include "darkroom/v1/generation.pb.h"

namespace darkroom {

// The bytes that a generation is kept as: the same for equal messages, without its etag.
std::string CanonicalBytes(const v1::Generation& generation);

// The etag of a generation whose CanonicalBytes are `bytes`: 16 hex digits of their SHA-256. Stores
// set it on everything they return; whoever passes a generation on before it is stored may set the
// same one.
std::string Etag(const std::string& bytes);

}  // namespace darkroom
