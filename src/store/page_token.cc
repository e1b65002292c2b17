#include "store/page_token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/resource_name.h"
#include "store/limits.h"

namespace darkroom {
namespace {

constexpr size_t kMacBytes = 12;

// A keyed hash of the query and the place in it. Ids hold no '/', so the parts cannot be confused.
std::string Mac(const std::string& key, const GenerationStore::ListQuery& query,
                const std::string& last_id) {
  std::string text = absl::StrCat("list/", query.tenant, "/", last_id);
  const std::set<int> states(query.states.begin(), query.states.end());
  for (const int state : states) absl::StrAppend(&text, "/", state);
  unsigned char digest[EVP_MAX_MD_SIZE] = {};
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest, &size);
  return std::string(reinterpret_cast<const char*>(digest), kMacBytes);
}

}  // namespace

std::string MakePageToken(const std::string& key, const GenerationStore::ListQuery& query,
                          const std::string& last_id) {
  return absl::WebSafeBase64Escape(absl::StrCat(Mac(key, query, last_id), last_id));
}

absl::StatusOr<std::string> ReadPageToken(const std::string& key,
                                          const GenerationStore::ListQuery& query) {
  std::string plain;
  if (query.page_token.size() <= store_limits::kPageTokenBytesMax &&
      absl::WebSafeBase64Unescape(query.page_token, &plain) && plain.size() > kMacBytes) {
    std::string last_id = plain.substr(kMacBytes);
    if (IsValidId(last_id) &&
        CRYPTO_memcmp(plain.data(), Mac(key, query, last_id).data(), kMacBytes) == 0) {
      return last_id;
    }
  }
  return absl::Status(
      Error(absl::StatusCode::kInvalidArgument, "PAGE_TOKEN_INVALID",
            "page_token is not one that this list gave; it must be the "
            "next_page_token of the "
            "previous page, asked with the same parent and states, or empty "
            "for the first page")
          .Field("page_token", "must be the previous page's next_page_token, or empty"));
}

}  // namespace darkroom
