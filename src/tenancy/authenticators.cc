#include "tenancy/authenticators.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/logging.h"
#include "base/tenant_key.h"
#include "tenancy/limits.h"

namespace darkroom {
namespace {

constexpr char kBearer[] = "Bearer ";
constexpr int64_t kTellIntervalNs = 1'000'000'000;

absl::Status TenantKeyRepeated(size_t values) {
  return Error(absl::StatusCode::kInvalidArgument, "TENANT_KEY_REPEATED",
               absl::StrCat("the metadata key ", kTenantKey, " has ", values,
                            " values; it must have one, or be left out"));
}

}  // namespace

absl::StatusOr<Principal> LoopbackAuthenticator::Authenticate(
    const Credentials& credentials) const {
  if (credentials.tenants.size() > 1) return TenantKeyRepeated(credentials.tenants.size());
  const std::string tenant =
      credentials.tenants.empty() ? std::string(kLocalTenant) : credentials.tenants.front();
  if (!tenants_.Has(tenant)) {
    return absl::Status(Error(
        absl::StatusCode::kUnauthenticated, "TENANT_UNKNOWN",
        absl::StrCat("the metadata key ", kTenantKey,
                     " names no tenant of this server; it must be one of its "
                     "configuration or made with CreateTenant, or be left out for the tenant ",
                     kLocalTenant)));
  }
  return Principal{.id = "loopback", .tenant = tenant, .roles = Roles::All()};
}

CredentialAuthenticator::CredentialAuthenticator(Options options, const Clock& clock)
    : options_(std::move(options)), clock_(clock) {
  for (const Certificate& certificate : options_.certificates) {
    certificates_[certificate.uri] = {.id = absl::StrCat("certificate/", certificate.uri),
                                      .tenant = certificate.tenant,
                                      .roles = Roles(certificate.role)};
  }
  if (options_.tokens == nullptr) return;
  poller_ = std::make_unique<Poller>(tenancy_limits::kReloadInterval, [this] {
    if (absl::Status status = options_.tokens->Poll(); !status.ok()) {
      spdlog::warn("{}; the keys read before stay in use", std::string(status.message()));
    }
  });
}

absl::StatusOr<Principal> CredentialAuthenticator::Authenticate(
    const Credentials& credentials) const {
  if (credentials.tenants.size() > 1) return TenantKeyRepeated(credentials.tenants.size());
  absl::StatusOr<Principal> principal = absl::Status(
      Error(absl::StatusCode::kUnauthenticated, "CREDENTIALS_MISSING",
            "the call brings no credentials; it must have the metadata key authorization with "
            "\"Bearer \" and a key or token, or a client certificate that the server knows"));
  if (credentials.authorization.size() > 1) {
    return CredentialsInvalid();
  }
  if (!credentials.authorization.empty()) {
    principal = ByBearer(credentials.authorization.front());
  } else if (!credentials.certificate_uris.empty()) {
    principal = ByCertificate(credentials.certificate_uris);
  }
  if (!principal.ok()) return principal;
  if (principal->tenant.empty()) return principal;
  if (!options_.tenants->Has(principal->tenant)) return CredentialsInvalid();
  if (!credentials.tenants.empty() && credentials.tenants.front() != principal->tenant) {
    return absl::Status(
        Error(absl::StatusCode::kUnauthenticated, "TENANT_UNKNOWN",
              absl::StrCat("the metadata key ", kTenantKey,
                           " names another tenant than the credentials; leave it out")));
  }
  return principal;
}

absl::StatusOr<Principal> CredentialAuthenticator::ByBearer(
    const std::string& authorization) const {
  if (authorization.size() > tenancy_limits::kAuthorizationBytesMax ||
      !absl::StartsWithIgnoreCase(authorization, kBearer)) {
    return CredentialsInvalid();
  }
  const std::string_view text = std::string_view(authorization).substr(sizeof(kBearer) - 1);
  // A token has dots and a key has none.
  if (text.find('.') == std::string_view::npos) {
    if (options_.keys == nullptr) return CredentialsInvalid();
    return options_.keys->Verify(text, clock_.WallTime());
  }
  if (options_.tokens == nullptr) return CredentialsInvalid();
  auto principal = options_.tokens->Verify(text, clock_.WallTime());
  if (principal.ok()) return principal;
  const int64_t now = clock_.MonotonicNanos();
  int64_t told = told_ns_.load();
  if ((told == INT64_MIN || now - told >= kTellIntervalNs) &&
      told_ns_.compare_exchange_strong(told, now)) {
    spdlog::info("refused a token: {}", std::string(principal.status().message()));
  }
  return CredentialsInvalid();
}

absl::StatusOr<Principal> CredentialAuthenticator::ByCertificate(
    const std::vector<std::string>& uris) const {
  for (const std::string& uri : uris) {
    const auto it = certificates_.find(uri);
    if (it != certificates_.end()) return it->second;
  }
  return CredentialsInvalid();
}

}  // namespace darkroom
