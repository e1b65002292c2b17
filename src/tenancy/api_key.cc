#include "tenancy/api_key.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "tenancy/limits.h"

namespace darkroom {
namespace {

namespace limits = tenancy_limits;

constexpr char kPrefix[] = "drk_";
constexpr size_t kPrefixBytes = sizeof(kPrefix) - 1;
constexpr size_t kIdDigits = 2 * limits::kKeyIdBytes;
constexpr size_t kSecretDigits = 2 * limits::kSecretBytes;

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

absl::StatusOr<std::string> RandomHex(size_t bytes) {
  std::string random(bytes, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(random.data()), static_cast<int>(bytes)) != 1) {
    return absl::InternalError("the system gave no random bytes");
  }
  std::string hex = absl::BytesToHexString(random);
  OPENSSL_cleanse(random.data(), random.size());
  return hex;
}

std::string LengthPrefixed(std::string_view text) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) {
    bytes += static_cast<char>(static_cast<uint64_t>(text.size()) >> shift);
  }
  return bytes.append(text);
}

}  // namespace

std::string ApiKeyText::ToString() const { return absl::StrCat(kPrefix, id, "_", secret); }

bool ApiKeyText::Parse(std::string_view text, ApiKeyText& key) {
  if (text.size() != kPrefixBytes + kIdDigits + 1 + kSecretDigits) return false;
  const std::string_view id = text.substr(kPrefixBytes, kIdDigits);
  const std::string_view secret = text.substr(text.size() - kSecretDigits);
  if (text.substr(0, kPrefixBytes) != kPrefix || text[kPrefixBytes + kIdDigits] != '_')
    return false;
  if (!IsHex(id) || !IsHex(secret)) return false;
  key.id = std::string(id);
  key.secret = std::string(secret);
  return true;
}

absl::StatusOr<std::string> NewKeyId() { return RandomHex(limits::kKeyIdBytes); }
absl::StatusOr<std::string> NewKeySecret() { return RandomHex(limits::kSecretBytes); }

std::string HashKeySecret(std::string_view pepper, std::string_view id, std::string_view secret) {
  const std::string message = absl::StrCat(LengthPrefixed(id), LengthPrefixed(secret));
  std::string hash(EVP_MAX_MD_SIZE, '\0');
  unsigned int size = 0;
  HMAC(EVP_sha256(), pepper.data(), static_cast<int>(pepper.size()),
       reinterpret_cast<const unsigned char*>(message.data()), message.size(),
       reinterpret_cast<unsigned char*>(hash.data()), &size);
  hash.resize(size);
  return hash;
}

bool IsOneOf(std::string_view hash, absl::Span<const std::string> hashes) {
  bool found = false;
  for (const std::string& other : hashes) {
    const bool equal =
        other.size() == hash.size() && CRYPTO_memcmp(other.data(), hash.data(), hash.size()) == 0;
    found = found || equal;
  }
  return found;
}

}  // namespace darkroom
