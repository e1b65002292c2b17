#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace darkroom {

// The text of an API key is "drk_{id}_{secret}": the id is public, 16 characters, and says which
// record to look at; the secret is 256 random bits, 64 hex digits, of which only a hash is kept.
struct ApiKeyText {
  std::string id;      // [0-9a-f]{16}
  std::string secret;  // [0-9a-f]{64}

  std::string ToString() const;
  // False for anything that is not a key's text. Takes time by the text's length alone.
  static bool Parse(std::string_view text, ApiKeyText& key);
};

// A new key's id and a new secret, from OpenSSL's random generator. INTERNAL when it has none.
absl::StatusOr<std::string> NewKeyId();
absl::StatusOr<std::string> NewKeySecret();

// HMAC-SHA-256 with the server's pepper over id and secret, each with its length before it: 32
// bytes. Fast on purpose: it runs for every call, and a secret of 256 bits needs no slow hash.
std::string HashKeySecret(std::string_view pepper, std::string_view id, std::string_view secret);

// Whether `hash` is one of `hashes`, in a time that does not depend on where they differ.
bool IsOneOf(std::string_view hash, absl::Span<const std::string> hashes);

}  // namespace darkroom
