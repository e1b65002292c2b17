#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "darkroom/store.h"

namespace darkroom {

// Page tokens say after which generation a list goes on. Each is bound to the tenant and the states
// of its query by a keyed hash, so that a token that is made up, changed or used with another query
// is refused. Tokens outlive a restart as long as `key` does. `page_size` may change between pages.

std::string MakePageToken(const std::string& key, const GenerationStore::ListQuery& query,
                          const std::string& last_id);

// The id that a token holds. INVALID_ARGUMENT (PAGE_TOKEN_INVALID).
// REQUIRES: query.page_token is not empty.
absl::StatusOr<std::string> ReadPageToken(const std::string& key,
                                          const GenerationStore::ListQuery& query);

}  // namespace darkroom
