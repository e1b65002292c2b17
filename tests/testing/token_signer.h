#pragma once

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace darkroom::testing {

inline std::string Base64Url(const std::string& bytes) {
  std::string text;
  absl::WebSafeBase64Escape(bytes, &text);
  while (!text.empty() && text.back() == '=') text.pop_back();
  return text;
}

// Signs tokens as an identity provider does, and publishes its key.
class TokenSigner {
 public:
  // `algorithm`: "ES256", "EdDSA" or "RS256", or "RS256" with other `rsa_bits`.
  explicit TokenSigner(std::string algorithm, std::string id = "one", unsigned rsa_bits = 2048)
      : algorithm_(std::move(algorithm)), id_(std::move(id)) {
    if (algorithm_ == "ES256") {
      key_.reset(EVP_EC_gen("P-256"));
    } else if (algorithm_ == "EdDSA") {
      key_.reset(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
    } else {
      key_.reset(EVP_RSA_gen(rsa_bits));
    }
    if (key_ == nullptr) std::abort();
  }

  const std::string& id() const { return id_; }

  // The public key as a member of a key set.
  std::string Jwk() const {
    const std::string common = absl::StrCat(R"("kid":")", id_, R"(","use":"sig")");
    if (algorithm_ == "ES256") {
      return absl::StrCat(R"({"kty":"EC","crv":"P-256","x":")",
                          Base64Url(Number(OSSL_PKEY_PARAM_EC_PUB_X, 32)), R"(","y":")",
                          Base64Url(Number(OSSL_PKEY_PARAM_EC_PUB_Y, 32)), "\",", common, "}");
    }
    if (algorithm_ == "EdDSA") {
      std::string raw(32, '\0');
      size_t size = raw.size();
      EVP_PKEY_get_raw_public_key(key_.get(), reinterpret_cast<unsigned char*>(raw.data()), &size);
      return absl::StrCat(R"({"kty":"OKP","crv":"Ed25519","x":")", Base64Url(raw), "\",", common,
                          "}");
    }
    return absl::StrCat(R"({"kty":"RSA","n":")", Base64Url(Number(OSSL_PKEY_PARAM_RSA_N, 0)),
                        R"(","e":")", Base64Url(Number(OSSL_PKEY_PARAM_RSA_E, 0)), "\",", common,
                        "}");
  }

  // A token of these claims; the header says who signed it unless one is given.
  std::string Sign(const std::string& claims, std::string header = "") const {
    if (header.empty()) {
      header = absl::StrCat(R"({"alg":")", algorithm_, R"(","kid":")", id_, "\"}");
    }
    const std::string text = absl::StrCat(Base64Url(header), ".", Base64Url(claims));
    return absl::StrCat(text, ".", Base64Url(Signature(text)));
  }

 private:
  struct Free {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  };

  // A big number of the key, big-endian; padded to `bytes` unless that is 0.
  std::string Number(const char* name, int bytes) const {
    BIGNUM* number = nullptr;
    if (EVP_PKEY_get_bn_param(key_.get(), name, &number) != 1) std::abort();
    std::string out(bytes == 0 ? BN_num_bytes(number) : bytes, '\0');
    BN_bn2binpad(number, reinterpret_cast<unsigned char*>(out.data()),
                 static_cast<int>(out.size()));
    BN_free(number);
    return out;
  }

  std::string Signature(const std::string& text) const {
    EVP_MD_CTX* context = EVP_MD_CTX_new();
    const EVP_MD* digest = algorithm_ == "EdDSA" ? nullptr : EVP_sha256();
    const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
    size_t size = 0;
    EVP_DigestSignInit(context, nullptr, digest, nullptr, key_.get());
    EVP_DigestSign(context, nullptr, &size, bytes, text.size());
    std::string signature(size, '\0');
    EVP_DigestSign(context, reinterpret_cast<unsigned char*>(signature.data()), &size, bytes,
                   text.size());
    signature.resize(size);
    EVP_MD_CTX_free(context);
    if (algorithm_ != "ES256") return signature;
    const auto* der = reinterpret_cast<const unsigned char*>(signature.data());
    ECDSA_SIG* numbers = d2i_ECDSA_SIG(nullptr, &der, static_cast<long>(size));
    std::string raw(64, '\0');
    auto* out = reinterpret_cast<unsigned char*>(raw.data());
    BN_bn2binpad(ECDSA_SIG_get0_r(numbers), out, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(numbers), out + 32, 32);
    ECDSA_SIG_free(numbers);
    return raw;
  }

  const std::string algorithm_;
  const std::string id_;
  std::unique_ptr<EVP_PKEY, Free> key_;
};

// A key set of these members.
inline std::string Jwks(const std::vector<std::string>& keys) {
  return absl::StrCat(R"({"keys":[)", absl::StrJoin(keys, ","), "]}");
}

}  // namespace darkroom::testing
