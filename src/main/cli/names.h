#pragma once

#include <string>

namespace darkroom::cli {

// "tenants/{tenant}/generations/{id}" for a bare id; a full name as it is.
std::string GenerationNameOf(const std::string& tenant, const std::string& name_or_id);
// The same with an asset's.
std::string AssetNameOf(const std::string& tenant, const std::string& name_or_digest);
// "models/{id}" for a bare id; a full name, or nothing, as it is.
std::string ModelNameOf(const std::string& name_or_id);
// The last part of a name.
std::string IdOf(const std::string& name);

}  // namespace darkroom::cli
