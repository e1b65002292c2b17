#include "tenancy/token_verifier.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/resource_name.h"
#include "base/role_name.h"
#include "tenancy/limits.h"
#include "tenancy/token_json.h"

namespace darkroom {
namespace {

namespace limits = tenancy_limits;
using nlohmann::json;

absl::Status Wrong(const std::string& what) { return absl::InvalidArgumentError(what); }

// A "NumericDate": seconds since 1970, fractions allowed. False when it is there and no number that
// a time can have.
bool TimeMember(const json& claims, const char* name, absl::Time otherwise, absl::Time& time) {
  const auto it = claims.find(name);
  time = otherwise;
  if (it == claims.end()) return true;
  if (!it->is_number()) return false;
  const double seconds = it->get<double>();
  constexpr double kYear9999 = 253'402'300'800.0;
  if (!(seconds >= 0 && seconds < kYear9999)) return false;
  time = absl::UnixEpoch() + absl::Seconds(seconds);
  return true;
}

absl::Status CheckTimes(const json& claims, absl::Time now) {
  absl::Time expires;
  absl::Time not_before;
  absl::Time issued;
  if (!TimeMember(claims, "exp", absl::InfiniteFuture(), expires) ||
      !TimeMember(claims, "nbf", absl::InfinitePast(), not_before) ||
      !TimeMember(claims, "iat", now, issued)) {
    return Wrong("a time is not a number of seconds");
  }
  if (expires == absl::InfiniteFuture()) return Wrong("it has no exp");
  if (expires + limits::kClockSkew <= now) return Wrong("it has expired");
  if (not_before - limits::kClockSkew > now) return Wrong("it is not valid yet");
  if (issued - limits::kClockSkew > now) return Wrong("it was issued in the future");
  if (expires - issued > limits::kTokenLifetimeMax + limits::kClockSkew) {
    return Wrong(absl::StrCat("it lasts longer than ",
                              absl::ToInt64Hours(limits::kTokenLifetimeMax), " hours"));
  }
  return absl::OkStatus();
}

bool IsFor(const json& claims, const std::string& audience) {
  const auto it = claims.find("aud");
  if (it == claims.end()) return false;
  if (it->is_string()) return *it == audience;
  return it->is_array() && std::find(it->begin(), it->end(), json(audience)) != it->end();
}

absl::StatusOr<Principal> PrincipalOf(const json& claims, const TokenVerifier::Options& options) {
  Principal principal;
  v1::Role role = v1::ROLE_TENANT_USER;
  if (claims.contains(options.role_claim)) {
    const std::string* name = TextMember(claims, options.role_claim.c_str());
    role = name == nullptr ? v1::ROLE_UNSPECIFIED : ParseRole(*name);
    if (role == v1::ROLE_UNSPECIFIED) return Wrong("its role is none that there is");
  }
  principal.roles = Roles(role);
  const std::string* tenant = TextMember(claims, options.tenant_claim.c_str());
  if (IsTenantRole(role)) {
    if (tenant == nullptr || !IsValidId(*tenant)) return Wrong("it names no tenant");
    principal.tenant = *tenant;
  } else if (claims.contains(options.tenant_claim)) {
    return Wrong("it names a tenant, and its role acts for none");
  }
  const std::string* subject = TextMember(claims, "sub");
  if (subject == nullptr || subject->empty() || subject->size() > limits::kSubjectBytesMax) {
    return Wrong("it has no sub of 1 to 256 bytes");
  }
  principal.id = absl::StrCat("jwt/", *subject);
  return principal;
}

}  // namespace

TokenVerifier::TokenVerifier(Options options, std::vector<VerificationKey> keys)
    : options_(std::move(options)), keys_(std::move(keys)) {}

const VerificationKey* TokenVerifier::FindKey(const std::string& id,
                                              SignatureAlgorithm algorithm) const {
  for (const VerificationKey& key : keys_) {
    if (key.algorithm() == algorithm && (id == key.id() || (id.empty() && keys_.size() == 1))) {
      return &key;
    }
  }
  return nullptr;
}

absl::StatusOr<Principal> TokenVerifier::Verify(std::string_view token, absl::Time now) const {
  if (token.size() > limits::kAuthorizationBytesMax) return Wrong("it is too large");
  const std::vector<std::string> parts = absl::StrSplit(std::string(token), '.');
  if (parts.size() != 3) return Wrong("it is not three parts with dots between");
  std::string header_text;
  std::string claims_text;
  std::string signature;
  if (!DecodeBase64Url(parts[0], header_text) || !DecodeBase64Url(parts[1], claims_text) ||
      !DecodeBase64Url(parts[2], signature)) {
    return Wrong("a part is not base64url");
  }
  const auto header = ParseTokenJson(header_text);
  if (!header) return Wrong("its header is not a JSON object");
  if (header->contains("crit")) return Wrong("its header has critical extensions");
  const std::string* name = TextMember(*header, "alg");
  SignatureAlgorithm algorithm{};
  if (name == nullptr || !ParseAlgorithm(*name, algorithm)) {
    return Wrong("it is not signed with ES256, EdDSA or RS256");
  }
  const std::string* id = TextMember(*header, "kid");
  const VerificationKey* key = FindKey(id == nullptr ? "" : *id, algorithm);
  if (key == nullptr) return Wrong("no key of the key file has its kid and alg");
  const std::string_view signed_text = token.substr(0, parts[0].size() + 1 + parts[1].size());
  if (!key->Verify(signed_text, signature)) return Wrong("its signature is not good");
  // From here on the issuer has said it.
  const auto claims = ParseTokenJson(claims_text);
  if (!claims) return Wrong("its claims are not a JSON object");
  const std::string* issuer = TextMember(*claims, "iss");
  if (issuer == nullptr || *issuer != options_.issuer) return Wrong("its iss is another");
  if (!IsFor(*claims, options_.audience)) return Wrong("its aud is another");
  if (absl::Status status = CheckTimes(*claims, now); !status.ok()) return status;
  return PrincipalOf(*claims, options_);
}

}  // namespace darkroom
