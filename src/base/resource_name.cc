#include "base/resource_name.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "base/limits.h"

namespace darkroom {

bool IsValidId(std::string_view id) {
  if (id.empty() || id.size() > kIdBytesMax) return false;
  for (const char c : id) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) return false;
  }
  return true;
}

std::string GenerationName::ToString() const {
  return absl::StrCat("tenants/", tenant, "/generations/", generation);
}

absl::StatusOr<GenerationName> GenerationName::Parse(std::string_view name,
                                                     std::string_view field) {
  const std::vector<std::string> parts =
      absl::StrSplit(absl::string_view(name.data(), name.size()), '/');
  if (parts.size() != 4 || parts[0] != "tenants" || parts[2] != "generations" ||
      !IsValidId(parts[1]) || !IsValidId(parts[3])) {
    return absl::Status(Error(absl::StatusCode::kInvalidArgument, "RESOURCE_NAME_INVALID",
                              absl::StrCat(std::string(field),
                                           " is not a generation's name; it must look like "
                                           "tenants/{tenant}/generations/{generation}, each id "
                                           "1 to 63 characters of a-z, 0-9 and -"))
                            .Field(field, "tenants/{tenant}/generations/{generation}"));
  }
  return GenerationName{parts[1], parts[3]};
}

bool IsSha256Hex(std::string_view text) {
  constexpr size_t kDigits = 64;
  if (text.size() != kDigits) return false;
  for (const char c : text) {
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

std::string AssetName::ToString() const {
  return absl::StrCat("tenants/", tenant, "/assets/", sha256);
}

absl::StatusOr<AssetName> AssetName::Parse(std::string_view name, std::string_view field) {
  const std::vector<std::string> parts =
      absl::StrSplit(absl::string_view(name.data(), name.size()), '/');
  if (parts.size() != 4 || parts[0] != "tenants" || parts[2] != "assets" || !IsValidId(parts[1]) ||
      !IsSha256Hex(parts[3])) {
    return absl::Status(Error(absl::StatusCode::kInvalidArgument, "RESOURCE_NAME_INVALID",
                              absl::StrCat(std::string(field),
                                           " is not an asset's name; it must look like "
                                           "tenants/{tenant}/assets/{sha256}, the digest 64 "
                                           "digits of 0-9 and a-f"))
                            .Field(field, "tenants/{tenant}/assets/{sha256}"));
  }
  return AssetName{parts[1], parts[3]};
}

std::string NewGenerationId(int64_t wall_ms, uint64_t random_high, uint64_t random_low) {
  constexpr char kAlphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
  std::string id(26, '0');
  uint64_t time = static_cast<uint64_t>(wall_ms);
  for (int i = 9; i >= 0; --i, time >>= 5) id[i] = kAlphabet[time & 31];
  for (int i = 17; i >= 10; --i, random_high >>= 5) id[i] = kAlphabet[random_high & 31];
  for (int i = 25; i >= 18; --i, random_low >>= 5) id[i] = kAlphabet[random_low & 31];
  return id;
}

}  // namespace darkroom
