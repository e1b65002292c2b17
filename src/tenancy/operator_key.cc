#include "tenancy/operator_key.h"

#include "absl/strings/str_cat.h"
#include "base/wall_time.h"
#include "tenancy/api_key.h"
#include "tenancy/limits.h"
#include "tenancy/secret_file.h"

namespace darkroom {

absl::StatusOr<bool> MakeFirstOperatorKey(GenerationStore& store, KeyRing& ring,
                                          const std::string& path, absl::Time now) {
  for (const v1::ApiKey& key : ring.List("", "", tenancy_limits::kKeysMax, now)) {
    if (key.role() == v1::ROLE_OPERATOR && key.state() == v1::ApiKey::STATE_ACTIVE) return false;
  }
  auto id = NewKeyId();
  if (!id.ok()) return id.status();
  auto secret = NewKeySecret();
  if (!secret.ok()) return secret.status();
  v1::ApiKeyRecord record;
  v1::ApiKey& key = *record.mutable_key();
  key.set_name(absl::StrCat("keys/", *id));
  key.set_role(v1::ROLE_OPERATOR);
  key.set_title("the first operator's");
  *key.mutable_create_time() = ToTimestamp(now);
  *key.mutable_rotate_time() = key.create_time();
  record.add_secrets()->set_hash(ring.Hash(*id, *secret));
  // The file first: a key that nobody was told would keep the next start from making another.
  const std::string text = ApiKeyText{*id, *secret}.ToString();
  if (absl::Status status = WriteSecretFile(path, absl::StrCat(text, "\n")); !status.ok()) {
    return status;
  }
  absl::Status status = store.Transact([&] { return store.keys().PutKey(record); });
  if (!status.ok()) return status;
  ring.Put(record);
  return true;
}

}  // namespace darkroom
