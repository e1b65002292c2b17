#include "main/cli/names.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace darkroom::cli {

std::string GenerationNameOf(const std::string& tenant, const std::string& name_or_id) {
  if (absl::StrContains(name_or_id, "/")) return name_or_id;
  return absl::StrCat("tenants/", tenant, "/generations/", name_or_id);
}

std::string AssetNameOf(const std::string& tenant, const std::string& name_or_digest) {
  if (absl::StrContains(name_or_digest, "/")) return name_or_digest;
  return absl::StrCat("tenants/", tenant, "/assets/", name_or_digest);
}

std::string ModelNameOf(const std::string& name_or_id) {
  if (name_or_id.empty() || absl::StrContains(name_or_id, "/")) return name_or_id;
  return absl::StrCat("models/", name_or_id);
}

std::string IdOf(const std::string& name) { return name.substr(name.rfind('/') + 1); }

}  // namespace darkroom::cli
