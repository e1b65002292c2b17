#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "darkroom/asset_store.h"

namespace darkroom {

// What every AssetStore says alike.

absl::Status AssetMissing();
absl::Status AssetDamaged();
absl::Status AssetQuotaExceeded(int64_t used_bytes, int64_t quota_bytes);

// Page tokens, as page_token.h has them; `ordinal` is that of the page's last asset.
std::string MakeAssetPageToken(const std::string& key, const AssetStore::ListQuery& query,
                               int64_t ordinal);
// The ordinal below which the page begins; the highest there is for no token. INVALID_ARGUMENT
// (PAGE_TOKEN_INVALID).
absl::StatusOr<int64_t> ReadAssetPageToken(const std::string& key,
                                           const AssetStore::ListQuery& query);

// Where an asset's bytes are: the digest is a character too long for one part of a key.
std::string AssetBlobKey(const std::string& tenant, const std::string& sha256);

}  // namespace darkroom
