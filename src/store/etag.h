#pragma once

#include <string>

#include "darkroom/v1/generation.pb.h"
#include "darkroom/v1/tenant.pb.h"

namespace darkroom {

// The bytes that a generation is kept as: the same for equal messages, without its etag.
std::string CanonicalBytes(const v1::Generation& generation);

// The same of a tenant, without what depends on where it is looked at: its source, state and etag.
std::string CanonicalBytes(const v1::Tenant& tenant);

// The etag of a generation or a tenant whose CanonicalBytes are `bytes`: 16 hex digits of their
// SHA-256. Stores set it on every generation that they return; whoever passes one on before it is
// stored may set the same one.
std::string Etag(const std::string& bytes);

}  // namespace darkroom
