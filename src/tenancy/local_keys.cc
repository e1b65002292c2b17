#include "tenancy/local_keys.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/wall_time.h"
#include "tenancy/api_key.h"
#include "tenancy/limits.h"

namespace darkroom {

namespace limits = tenancy_limits;

// What one change of a key does and leaves behind; made on the caller's thread, filled on the store
// thread.
struct LocalKeys::Change {
  v1::ApiKeyRecord record;
  std::vector<std::string> purged;
  std::string text;
  absl::Status status;
};

namespace {

absl::Status Busy() {
  return Error(absl::StatusCode::kResourceExhausted, "SERVER_BUSY",
               "the server has too much to write; try again shortly")
      .RetryAfter(absl::Seconds(1));
}

absl::Status TooMany(const std::string& whose, int max) {
  return Error(absl::StatusCode::kResourceExhausted, "KEYS_TOO_MANY",
               absl::StrCat(whose, " has its limit of ", max,
                            " keys, those revoked in the last 30 days included; rotate one "
                            "instead of making another"))
      .Quota("keys", absl::StrCat("at most ", max));
}

// Room for one more, after those that ended long ago are gone.
absl::Status MakeRoom(KeyStore& store, const std::string& tenant, absl::Time now,
                      std::vector<std::string>& purged) {
  auto names = store.PurgeKeys(now - limits::kEndedKept);
  if (!names.ok()) return names.status();
  purged = *std::move(names);
  const auto all = store.CountKeys("");
  if (!all.ok()) return all.status();
  if (*all >= limits::kKeysMax) return TooMany("the server", limits::kKeysMax);
  if (tenant.empty()) return absl::OkStatus();
  const auto own = store.CountKeys(tenant);
  if (!own.ok()) return own.status();
  if (*own >= limits::kKeysPerTenantMax) return TooMany("the tenant", limits::kKeysPerTenantMax);
  return absl::OkStatus();
}

}  // namespace

void LocalKeys::Post(std::shared_ptr<Change> change,
                     absl::AnyInvocable<absl::Status(KeyStore&)> apply,
                     absl::AnyInvocable<void(absl::Status)> done) {
  auto shared = std::make_shared<absl::AnyInvocable<void(absl::Status)>>(std::move(done));
  const bool posted = store_.Post(
      StoreThread::Write{[change, apply = std::move(apply)](GenerationStore& store) mutable {
                           change->status = apply(store.keys());
                         },
                         [this, change, shared](const absl::Status& committed) {
                           if (!committed.ok()) return (*shared)(committed);
                           if (!change->status.ok()) return (*shared)(change->status);
                           for (const std::string& name : change->purged) ring_.Remove(name);
                           ring_.Put(change->record);
                           (*shared)(absl::OkStatus());
                         }});
  if (!posted) (*shared)(Busy());
}

void LocalKeys::CreateKey(v1::ApiKey key, Done<absl::StatusOr<NewText>> done) {
  auto id = NewKeyId();
  auto secret = NewKeySecret();
  if (!id.ok() || !secret.ok()) return std::move(done)(id.ok() ? secret.status() : id.status());
  auto change = std::make_shared<Change>();
  const absl::Time now = clock_.WallTime();
  key.set_name(absl::StrCat("keys/", *id));
  *key.mutable_create_time() = ToTimestamp(now);
  *key.mutable_rotate_time() = key.create_time();
  change->record.add_secrets()->set_hash(ring_.Hash(*id, *secret));
  *change->record.mutable_key() = std::move(key);
  change->text = ApiKeyText{*id, *secret}.ToString();
  Post(
      change,
      [change, now](KeyStore& store) {
        absl::Status room = MakeRoom(store, change->record.key().tenant(), now, change->purged);
        return room.ok() ? store.PutKey(change->record) : room;
      },
      [change, now, done = std::move(done)](absl::Status status) mutable {
        if (!status.ok()) return std::move(done)(status);
        std::move(done)(NewText{KeyAt(change->record, now), change->text});
      });
}

void LocalKeys::RotateKey(const std::string& name, absl::Duration overlap, Check check,
                          Done<absl::StatusOr<NewText>> done) {
  auto secret = NewKeySecret();
  if (!secret.ok()) return std::move(done)(secret.status());
  auto change = std::make_shared<Change>();
  const absl::Time now = clock_.WallTime();
  Post(
      change,
      [this, change, name, overlap, now, secret = *std::move(secret),
       check = std::move(check)](KeyStore& store) mutable -> absl::Status {
        auto record = store.GetKey(name);
        if (!record.ok()) return record.status();
        const v1::ApiKey shown = KeyAt(*record, now);
        if (absl::Status status = check(shown); !status.ok()) return status;
        if (shown.state() != v1::ApiKey::STATE_ACTIVE) {
          return Error(absl::StatusCode::kFailedPrecondition, "KEY_ENDED",
                       "the key is revoked or has expired, for good; make another");
        }
        const std::string id = name.substr(std::string_view("keys/").size());
        v1::ApiKeyRecord rotated;
        *rotated.mutable_key() = record->key();
        *rotated.mutable_key()->mutable_rotate_time() = ToTimestamp(now);
        rotated.add_secrets()->set_hash(ring_.Hash(id, secret));
        *rotated.add_secrets() = record->secrets(0);
        *rotated.mutable_secrets(1)->mutable_expire_time() = ToTimestamp(now + overlap);
        change->text = ApiKeyText{id, secret}.ToString();
        change->record = std::move(rotated);
        return store.PutKey(change->record);
      },
      [change, now, done = std::move(done)](absl::Status status) mutable {
        if (!status.ok()) return std::move(done)(status);
        std::move(done)(NewText{KeyAt(change->record, now), change->text});
      });
}

void LocalKeys::RevokeKey(const std::string& name, Check check,
                          Done<absl::StatusOr<v1::ApiKey>> done) {
  auto change = std::make_shared<Change>();
  const absl::Time now = clock_.WallTime();
  Post(
      change,
      [change, name, now, check = std::move(check)](KeyStore& store) mutable -> absl::Status {
        auto record = store.GetKey(name);
        if (!record.ok()) return record.status();
        if (absl::Status status = check(KeyAt(*record, now)); !status.ok()) return status;
        change->record = *std::move(record);
        v1::ApiKey& key = *change->record.mutable_key();
        if (!key.has_revoke_time()) *key.mutable_revoke_time() = ToTimestamp(now);
        return store.PutKey(change->record);
      },
      [change, now, done = std::move(done)](absl::Status status) mutable {
        if (!status.ok()) return std::move(done)(status);
        std::move(done)(KeyAt(change->record, now));
      });
}

absl::StatusOr<v1::ApiKey> LocalKeys::GetKey(const std::string& name) const {
  return ring_.Get(name, clock_.WallTime());
}

std::vector<v1::ApiKey> LocalKeys::ListKeys(const std::string& tenant, const std::string& after,
                                            int max) const {
  return ring_.List(tenant, after, max, clock_.WallTime());
}

}  // namespace darkroom
