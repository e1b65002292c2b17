#include "tenancy/key_ring.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/error.h"
#include "base/wall_time.h"
#include "store/key_rules.h"
#include "tenancy/api_key.h"

namespace darkroom {

namespace {

bool IsOver(const google::protobuf::Timestamp& end, absl::Time now) {
  return FromTimestamp(end) <= now;
}

}  // namespace

absl::Status CredentialsInvalid() {
  return Error(absl::StatusCode::kUnauthenticated, "CREDENTIALS_INVALID",
               "the credentials are not good for this server, or not any more; ask whoever runs "
               "it for a key");
}

v1::ApiKey KeyAt(const v1::ApiKeyRecord& record, absl::Time now) {
  v1::ApiKey key = record.key();
  if (key.has_revoke_time()) {
    key.set_state(v1::ApiKey::STATE_REVOKED);
  } else if (key.has_expire_time() && IsOver(key.expire_time(), now)) {
    key.set_state(v1::ApiKey::STATE_EXPIRED);
  } else {
    key.set_state(v1::ApiKey::STATE_ACTIVE);
  }
  if (record.secrets_size() > 1 && !IsOver(record.secrets(1).expire_time(), now)) {
    *key.mutable_previous_expire_time() = record.secrets(1).expire_time();
  }
  return key;
}

KeyRing::KeyRing(std::string pepper) : pepper_(std::move(pepper)) {}

std::string KeyRing::Hash(std::string_view id, std::string_view secret) const {
  return HashKeySecret(pepper_, id, secret);
}

absl::StatusOr<Principal> KeyRing::Verify(std::string_view text, absl::Time now) const {
  ApiKeyText key;
  if (!ApiKeyText::Parse(text, key)) return CredentialsInvalid();
  // Before the look-up, so that a key that there is takes no longer than one that there is not.
  const std::string hash = Hash(key.id, key.secret);
  Principal principal;
  std::vector<std::string> alive;
  bool active = false;
  {
    MutexLock lock(mutex_);
    const auto it = records_.find(absl::StrCat("keys/", key.id));
    if (it != records_.end()) {
      const v1::ApiKeyRecord& record = it->second;
      principal.id = record.key().name();
      principal.tenant = std::string(absl::StripPrefix(record.key().tenant(), "tenants/"));
      principal.roles = Roles(record.key().role());
      active = KeyAt(record, now).state() == v1::ApiKey::STATE_ACTIVE;
      for (const auto& secret : record.secrets()) {
        if (secret.has_expire_time() && IsOver(secret.expire_time(), now)) continue;
        alive.push_back(secret.hash());
      }
    }
  }
  if (!IsOneOf(hash, alive) || !active) return CredentialsInvalid();
  return principal;
}

void KeyRing::Put(const v1::ApiKeyRecord& record) {
  MutexLock lock(mutex_);
  records_[record.key().name()] = record;
}

void KeyRing::Remove(const std::string& name) {
  MutexLock lock(mutex_);
  records_.erase(name);
}

std::vector<v1::ApiKey> KeyRing::List(const std::string& tenant, const std::string& after, int max,
                                      absl::Time now) const {
  std::vector<v1::ApiKey> keys;
  MutexLock lock(mutex_);
  for (auto it = records_.upper_bound(after); it != records_.end(); ++it) {
    if (static_cast<int>(keys.size()) >= max) break;
    if (tenant.empty() || it->second.key().tenant() == tenant) {
      keys.push_back(KeyAt(it->second, now));
    }
  }
  return keys;
}

absl::StatusOr<v1::ApiKey> KeyRing::Get(const std::string& name, absl::Time now) const {
  MutexLock lock(mutex_);
  const auto it = records_.find(name);
  if (it == records_.end()) return KeyMissing();
  return KeyAt(it->second, now);
}

}  // namespace darkroom
