#include "config/authentication.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/nearest_name.h"
#include "base/role_name.h"
#include "config/limits.h"

namespace darkroom {
namespace {

absl::Status Invalid(const std::string& field, const std::string& given,
                     const std::string& wanted) {
  return Error(absl::StatusCode::kInvalidArgument, "CONFIG_VALUE_INVALID",
               absl::StrCat(field, " is ", given, "; it ", wanted))
      .Field(field, wanted);
}

absl::Status Missing(const std::string& field, const std::string& why) {
  return Error(absl::StatusCode::kInvalidArgument, "CONFIG_FIELD_MISSING",
               absl::StrCat(field, " is not set; ", why))
      .Field(field, why);
}

std::string Shown(const std::string& text) {
  return absl::StrCat("\"", text.substr(0, kConfigShownBytesMax), "\"");
}

// Whichever of `names` looks most like `text`.
std::string Nearest(const std::string& text, const std::vector<std::string>& names) {
  return absl::StrCat("nearest: \"", NearestNames(text, names, kConfigSuggestionsMax).front(),
                      "\"");
}

absl::StatusOr<Config::Jwt> ResolveJwt(const v1::JwtConfig& proto) {
  const std::string path = "authentication.jwt";
  if (proto.jwks().empty()) return Missing(path + ".jwks", "it is the file of the issuer's keys");
  if (proto.issuer().empty()) return Missing(path + ".issuer", "it tells whose tokens count");
  if (proto.audience().empty()) {
    return Missing(path + ".audience", "without it tokens for other services would count here");
  }
  return Config::Jwt{proto.jwks(), proto.issuer(), proto.audience(),
                     proto.tenant_claim().empty() ? "tenant" : proto.tenant_claim(),
                     proto.role_claim().empty() ? "role" : proto.role_claim()};
}

absl::StatusOr<v1::Role> ResolveRole(const std::string& field, const std::string& given) {
  if (given.empty()) return v1::ROLE_TENANT_USER;
  const v1::Role role = ParseRole(given);
  if (role != v1::ROLE_UNSPECIFIED) return role;
  std::vector<std::string> names;
  for (int value = v1::Role_MIN + 1; value <= v1::Role_MAX; ++value) {
    names.push_back(RoleName(static_cast<v1::Role>(value)));
  }
  return Invalid(
      field, Shown(given),
      absl::StrCat("must be one of ", absl::StrJoin(names, ", "), "; ", Nearest(given, names)));
}

absl::StatusOr<Config::Certificate> ResolveCertificate(const v1::CertificateConfig& proto,
                                                       const std::string& path,
                                                       const Config& config) {
  if (proto.identity().empty()) {
    return Missing(path + ".identity", "it tells which certificate is meant");
  }
  auto role = ResolveRole(path + ".role", proto.role());
  if (!role.ok()) return role.status();
  if (!IsTenantRole(*role) && !proto.tenant().empty()) {
    return Invalid(path + ".tenant", Shown(proto.tenant()),
                   absl::StrCat("must be left out for the role ", RoleName(*role),
                                ", which acts for no tenant"));
  }
  if (IsTenantRole(*role)) {
    if (proto.tenant().empty()) return Missing(path + ".tenant", "it tells whose calls are made");
    std::vector<std::string> names;
    for (const auto& tenant : config.tenants) names.push_back(tenant.name);
    if (std::find(names.begin(), names.end(), proto.tenant()) == names.end()) {
      return Invalid(path + ".tenant", Shown(proto.tenant()),
                     "must be one of those in tenants; " + Nearest(proto.tenant(), names));
    }
  }
  return Config::Certificate{proto.identity(), proto.tenant(), *role};
}

}  // namespace

absl::StatusOr<Config::Authentication> ResolveAuthentication(const v1::DaemonConfig& proto,
                                                             const Config& config) {
  const v1::AuthenticationConfig& given = proto.authentication();
  Config::Authentication authentication;
  authentication.api_keys = !given.has_api_keys() || given.api_keys();
  if (given.has_jwt()) {
    auto jwt = ResolveJwt(given.jwt());
    if (!jwt.ok()) return jwt.status();
    authentication.jwt = *std::move(jwt);
  }
  if (given.certificates_size() > 0 && config.listen.tls.client_ca.empty()) {
    return Missing("listen.tls.client_ca", "authentication.certificates are checked with it");
  }
  std::set<std::string> uris;
  for (int i = 0; i < given.certificates_size(); ++i) {
    const std::string path = absl::StrCat("authentication.certificates[", i, "]");
    auto certificate = ResolveCertificate(given.certificates(i), path, config);
    if (!certificate.ok()) return certificate.status();
    if (!uris.insert(certificate->identity).second) {
      return Invalid(path + ".identity", Shown(certificate->identity),
                     "must be unlike every other one's");
    }
    authentication.certificates.push_back(*std::move(certificate));
  }
  if (!authentication.api_keys && !authentication.jwt && authentication.certificates.empty()) {
    return Invalid("authentication.api_keys", "false",
                   "must be true where neither jwt nor certificates is set: nobody could call");
  }
  return authentication;
}

}  // namespace darkroom
