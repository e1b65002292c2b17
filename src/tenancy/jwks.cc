#include "tenancy/jwks.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "tenancy/limits.h"
#include "tenancy/token_json.h"

namespace darkroom {
namespace {

namespace limits = tenancy_limits;
using nlohmann::json;

constexpr size_t kP256CoordinateBytes = 32;
constexpr size_t kEs256SignatureBytes = 64;

template <auto kFree>
struct Freed {
  template <typename T>
  void operator()(T* pointer) const {
    kFree(pointer);
  }
};
using Bignum = std::unique_ptr<BIGNUM, Freed<BN_free>>;
using ParamBuilder = std::unique_ptr<OSSL_PARAM_BLD, Freed<OSSL_PARAM_BLD_free>>;
using Params = std::unique_ptr<OSSL_PARAM, Freed<OSSL_PARAM_free>>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, Freed<EVP_PKEY_CTX_free>>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, Freed<EVP_MD_CTX_free>>;
using EcdsaSignature = std::unique_ptr<ECDSA_SIG, Freed<ECDSA_SIG_free>>;

absl::Status Invalid(const std::string& what) {
  return Error(absl::StatusCode::kInvalidArgument, "JWKS_INVALID",
               absl::StrCat("the file of JSON web keys is not valid: ", what));
}

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

Bignum ToBignum(std::string_view bytes) {
  return Bignum(BN_bin2bn(Bytes(bytes), static_cast<int>(bytes.size()), nullptr));
}

// Null when the parts make no valid key.
EVP_PKEY* BuildKey(const char* type, OSSL_PARAM_BLD* builder) {
  const Params params(OSSL_PARAM_BLD_to_param(builder));
  const KeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
  EVP_PKEY* key = nullptr;
  if (params == nullptr || context == nullptr || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, params.get()) != 1) {
    return nullptr;
  }
  const KeyContext check(EVP_PKEY_CTX_new(key, nullptr));
  if (check != nullptr && EVP_PKEY_public_check(check.get()) == 1) return key;
  EVP_PKEY_free(key);
  return nullptr;
}

EVP_PKEY* RsaKey(std::string_view modulus, std::string_view exponent) {
  const Bignum n = ToBignum(modulus);
  const Bignum e = ToBignum(exponent);
  const ParamBuilder builder(OSSL_PARAM_BLD_new());
  if (OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get()) != 1 ||
      OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get()) != 1) {
    return nullptr;
  }
  return BuildKey("RSA", builder.get());
}

EVP_PKEY* P256Key(std::string_view x, std::string_view y) {
  const std::string point = std::string("\x04").append(x).append(y);  // uncompressed
  const ParamBuilder builder(OSSL_PARAM_BLD_new());
  if (OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) !=
          1 ||
      OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(),
                                       point.size()) != 1) {
    return nullptr;
  }
  return BuildKey("EC", builder.get());
}

// The bytes of a member; empty when it is not there or not base64url.
std::string BytesOf(const json& key, const char* member) {
  std::string bytes;
  const std::string* text = TextMember(key, member);
  if (text == nullptr || !DecodeBase64Url(*text, bytes)) return "";
  return bytes;
}

// What a key is for; false when it is not for checking signatures that we know.
bool AlgorithmOf(const json& key, SignatureAlgorithm& algorithm) {
  const auto text = [&key](const char* member) {
    const std::string* value = TextMember(key, member);
    return value == nullptr ? std::string() : *value;
  };
  if (!text("use").empty() && text("use") != "sig") return false;
  const std::string type = text("kty");
  if (type == "RSA") {
    algorithm = SignatureAlgorithm::kRs256;
  } else if (type == "EC" && text("crv") == "P-256") {
    algorithm = SignatureAlgorithm::kEs256;
  } else if (type == "OKP" && text("crv") == "Ed25519") {
    algorithm = SignatureAlgorithm::kEdDsa;
  } else {
    return false;
  }
  SignatureAlgorithm named{};
  return text("alg").empty() || (ParseAlgorithm(text("alg"), named) && named == algorithm);
}

absl::StatusOr<EVP_PKEY*> PublicKeyOf(const json& key, SignatureAlgorithm algorithm,
                                      const std::string& what) {
  EVP_PKEY* made = nullptr;
  switch (algorithm) {
    case SignatureAlgorithm::kRs256: {
      const std::string modulus = BytesOf(key, "n");
      if (const size_t bits = 8 * modulus.size();
          bits < limits::kRsaBitsMin || bits > limits::kRsaBitsMax) {
        return Invalid(absl::StrCat(what, " is RSA of ", bits, " bits; it must have ",
                                    limits::kRsaBitsMin, " to ", limits::kRsaBitsMax));
      }
      made = RsaKey(modulus, BytesOf(key, "e"));
      break;
    }
    case SignatureAlgorithm::kEs256: {
      const std::string x = BytesOf(key, "x");
      const std::string y = BytesOf(key, "y");
      if (x.size() == kP256CoordinateBytes && y.size() == kP256CoordinateBytes) {
        made = P256Key(x, y);
      }
      break;
    }
    case SignatureAlgorithm::kEdDsa: {
      const std::string x = BytesOf(key, "x");
      made = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, Bytes(x), x.size());
      break;
    }
  }
  if (made == nullptr) return Invalid(absl::StrCat(what, " is no valid public key of its type"));
  return made;
}

}  // namespace

bool ParseAlgorithm(std::string_view name, SignatureAlgorithm& algorithm) {
  if (name == "ES256") {
    algorithm = SignatureAlgorithm::kEs256;
  } else if (name == "EdDSA") {
    algorithm = SignatureAlgorithm::kEdDsa;
  } else if (name == "RS256") {
    algorithm = SignatureAlgorithm::kRs256;
  } else {
    return false;
  }
  return true;
}

bool DecodeBase64Url(std::string_view text, std::string& bytes) {
  const auto is_digit = [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  };
  if (text.size() % 4 == 1 || !std::all_of(text.begin(), text.end(), is_digit)) return false;
  if (!absl::WebSafeBase64Unescape(std::string(text), &bytes)) return false;
  // Bits that no byte has must be zero: one text for one value.
  std::string again;
  absl::WebSafeBase64Escape(bytes, &again);
  while (!again.empty() && again.back() == '=') again.pop_back();
  return again == text;
}

VerificationKey::VerificationKey(std::string id, SignatureAlgorithm algorithm, evp_pkey_st* key)
    : id_(std::move(id)), algorithm_(algorithm), key_(key) {}

void VerificationKey::Free::operator()(evp_pkey_st* key) const { EVP_PKEY_free(key); }

bool VerificationKey::Verify(std::string_view text, std::string_view signature) const {
  std::string encoded(signature);
  if (algorithm_ == SignatureAlgorithm::kEs256) {
    // A token has two numbers of 32 bytes, OpenSSL wants them in DER.
    if (signature.size() != kEs256SignatureBytes) return false;
    const EcdsaSignature numbers(ECDSA_SIG_new());
    Bignum r = ToBignum(signature.substr(0, kP256CoordinateBytes));
    Bignum s = ToBignum(signature.substr(kP256CoordinateBytes));
    if (ECDSA_SIG_set0(numbers.get(), r.get(), s.get()) != 1) return false;
    (void)r.release();  // now the signature's
    (void)s.release();
    const int size = i2d_ECDSA_SIG(numbers.get(), nullptr);
    if (size <= 0) return false;
    encoded.assign(static_cast<size_t>(size), '\0');
    auto* out = reinterpret_cast<unsigned char*>(encoded.data());
    i2d_ECDSA_SIG(numbers.get(), &out);
  }
  const DigestContext context(EVP_MD_CTX_new());
  // Ed25519 hashes by itself.
  const EVP_MD* digest = algorithm_ == SignatureAlgorithm::kEdDsa ? nullptr : EVP_sha256();
  return context != nullptr &&
         EVP_DigestVerifyInit(context.get(), nullptr, digest, nullptr, key_.get()) == 1 &&
         EVP_DigestVerify(context.get(), Bytes(encoded), encoded.size(), Bytes(text),
                          text.size()) == 1;
}

absl::StatusOr<std::vector<VerificationKey>> ParseJwks(std::string_view text) {
  if (text.size() > limits::kJwksBytesMax) {
    return Invalid(absl::StrCat("it has more than ", limits::kJwksBytesMax, " bytes"));
  }
  const auto set = ParseTokenJson(text);
  const json* keys = set && set->contains("keys") ? &(*set)["keys"] : nullptr;
  if (keys == nullptr || !keys->is_array()) {
    return Invalid(R"(it must be a JSON object with an array "keys")");
  }
  if (keys->size() > limits::kJwksKeysMax) {
    return Invalid(
        absl::StrCat("it has ", keys->size(), " keys; it may have ", limits::kJwksKeysMax));
  }
  std::vector<VerificationKey> result;
  std::set<std::string> ids;
  for (size_t i = 0; i < keys->size(); ++i) {
    const json& key = (*keys)[i];
    const std::string what = absl::StrCat("keys[", i, "]");
    if (!key.is_object()) return Invalid(absl::StrCat(what, " is not an object"));
    if (key.contains("d") || key.contains("k")) {
      return Invalid(absl::StrCat(what, " is a private or a symmetric key; give the public one"));
    }
    SignatureAlgorithm algorithm{};
    if (!AlgorithmOf(key, algorithm)) continue;
    auto made = PublicKeyOf(key, algorithm, what);
    if (!made.ok()) return made.status();
    const std::string* id = TextMember(key, "kid");
    result.emplace_back(id == nullptr ? "" : *id, algorithm, *made);
    if (!ids.insert(result.back().id()).second) {
      return Invalid(absl::StrCat(what, " has the kid of another key; each must have its own"));
    }
  }
  if (result.empty()) return Invalid("no key in it is for ES256, EdDSA or RS256 signatures");
  return result;
}

}  // namespace darkroom
