#include "main/access.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/logging.h"
#include "tenancy/authenticators.h"
#include "tenancy/limits.h"
#include "tenancy/operator_key.h"
#include "tenancy/secret_file.h"
#include "tenancy/token_file.h"

namespace darkroom {
namespace {

absl::Status FillRing(GenerationStore& store, KeyRing& ring) {
  const auto records = store.keys().AllKeys();
  if (!records.ok()) return records.status();
  for (const v1::ApiKeyRecord& record : *records) ring.Put(record);
  return absl::OkStatus();
}

absl::Status GiveOperatorAKey(const Config& config, GenerationStore& store, KeyRing& ring,
                              const Clock& clock) {
  const std::string path = config.store.path + "/operator.key";
  const auto made = MakeFirstOperatorKey(store, ring, path, clock.WallTime());
  if (!made.ok()) return made.status();
  if (*made) spdlog::info("the first operator's key is in {}; keep it and remove the file", path);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Access> OpenAccess(const Config& config, const TenantDirectory& tenants,
                                  GenerationStore& store, const Clock& clock) {
  auto pepper = ReadOrMakeSecretFile(config.store.path + "/pepper", tenancy_limits::kSecretBytes);
  if (!pepper.ok()) return pepper.status();
  Access access;
  access.ring = std::make_unique<KeyRing>(*std::move(pepper));
  if (absl::Status status = FillRing(store, *access.ring); !status.ok()) return status;
  if (!config.authentication) return access;

  CredentialAuthenticator::Options options;
  options.tenants = &tenants;
  if (config.authentication->api_keys) {
    options.keys = access.ring.get();
    absl::Status status = GiveOperatorAKey(config, store, *access.ring, clock);
    if (!status.ok()) return status;
  }
  if (const auto& jwt = config.authentication->jwt) {
    auto tokens = TokenFile::Open(jwt->jwks, {.issuer = jwt->issuer,
                                              .audience = jwt->audience,
                                              .tenant_claim = jwt->tenant_claim,
                                              .role_claim = jwt->role_claim});
    if (!tokens.ok()) return tokens.status();
    options.tokens = *std::move(tokens);
  }
  for (const auto& certificate : config.authentication->certificates) {
    options.certificates.push_back({certificate.identity, certificate.tenant, certificate.role});
  }
  access.authenticator = std::make_unique<CredentialAuthenticator>(std::move(options), clock);
  return access;
}

std::string DescribeAccess(const Config& config) {
  const std::string tls = config.listen.tls.certificate.empty() ? "no TLS" : "TLS";
  if (!config.authentication) return absl::StrCat(tls, ", loopback only, every caller believed");
  std::vector<std::string> ways;
  if (config.authentication->api_keys) ways.emplace_back("keys");
  if (config.authentication->jwt) ways.emplace_back("tokens");
  if (!config.authentication->certificates.empty()) ways.emplace_back("certificates");
  return absl::StrCat(tls, ", callers known by ", absl::StrJoin(ways, ", "));
}

}  // namespace darkroom
