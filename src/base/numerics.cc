#include "base/numerics.h"

#include "absl/strings/str_cat.h"
#include "base/sha256.h"

namespace darkroom {
namespace {

// Lengths keep ("ab", "c") and ("a", "bc") apart.
void Add(Sha256& hash, std::string_view name, std::string_view value) {
  hash.Update(absl::StrCat(absl::string_view(name.data(), name.size()), ":", value.size(), ":"));
  hash.Update(value);
}

void Add(Sha256& hash, std::string_view name, int64_t value) {
  Add(hash, name, std::string_view(absl::StrCat(value)));
}

}  // namespace

std::string NumericsId(const v1::Numerics& numerics) {
  Sha256 hash;
  Add(hash, "model", numerics.model_digest());
  for (const auto& digest : numerics.adapter_digests()) Add(hash, "adapter", digest);
  Add(hash, "precision", numerics.precision());
  Add(hash, "backend", numerics.backend());
  Add(hash, "isa", numerics.isa());
  Add(hash, "version", numerics.version());
  for (const auto& library : numerics.libraries()) Add(hash, "library", library);
  Add(hash, "tensor", numerics.tensor_degree());
  Add(hash, "ring", numerics.ring_degree());
  Add(hash, "expert", numerics.expert_degree());
  Add(hash, "acceleration", numerics.acceleration());
  return hash.HexDigest().substr(0, 32);
}

}  // namespace darkroom
