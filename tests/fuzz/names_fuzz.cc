// The small texts of requests: resource names, page tokens, addresses, request ids, keys.
#include "base/device_name.h"
#include "base/nearest_name.h"
#include "base/resource_name.h"
#include "fuzz/fuzz_target.h"
#include "gateway/listen_address.h"
#include "gateway/validation.h"
#include "store/page_token.h"
#include "tenancy/api_key.h"

namespace darkroom::fuzz {

void Run(std::string_view bytes) {
  const std::string text(bytes);
  if (const auto name = GenerationName::Parse(bytes, "name"); name.ok()) {
    Require(name->ToString() == bytes, "a name has one spelling");
    Require(name->tenant.find_first_of("./\\") == std::string::npos, "a name is no path");
  }
  if (const auto name = AssetName::Parse(bytes, "name"); name.ok()) {
    Require(name->sha256.size() == 64, "a digest has 64 digits");
  }
  GenerationStore::ListQuery query{.tenant = "studio"};
  query.page_token = text;
  if (!text.empty()) {
    Require(!ReadPageToken("key", query).ok(), "a page token needs the server's key");
  }
  for (const Reach reach : {Reach::kLoopback, Reach::kAnyone}) {
    (void)CheckedListenAddress(bytes, reach, "listen");
  }
  (void)IsRequestId(bytes);
  (void)ParseDeviceName(text);
  (void)NearestNames(text, {"alpha", "beta"}, 2);
  if (ApiKeyText key; ApiKeyText::Parse(bytes, key)) {
    Require(key.ToString() == bytes, "a key has one spelling");
    Require(HashKeySecret("pepper", key.id, key.secret).size() == 32, "a hash has 32 bytes");
  }
}

std::vector<std::string> Seeds() {
  return {"tenants/studio/generations/a-1",
          "tenants/studio/assets/" + std::string(64, 'a'),
          "127.0.0.1:50051",
          "[::1]:0",
          "localhost:80",
          "0.0.0.0:443",
          "123e4567-e89b-12d3-a456-426614174000",
          "cuda:63",
          "drk_0123456789abcdef_" + std::string(64, 'a'),
          "\xc0\xaf../%2e%2e/\x01"};
}

}  // namespace darkroom::fuzz
