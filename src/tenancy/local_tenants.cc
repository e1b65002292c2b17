#include "tenancy/local_tenants.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/logging.h"
#include "base/wall_time.h"
#include "store/tenant_rules.h"
#include "tenancy/limits.h"

namespace darkroom {

namespace limits = tenancy_limits;

// What a change leaves behind; filled on the store thread.
struct LocalTenants::Change {
  v1::TenantRecord record;
  bool written = false;
  std::vector<std::string> keys;  // that went
};

namespace {

absl::Status Busy() {
  return Error(absl::StatusCode::kResourceExhausted, "SERVER_BUSY",
               "the server has too much to write; try again shortly")
      .RetryAfter(absl::Seconds(1));
}

absl::Status Exists(const std::string& name) {
  return Error(absl::StatusCode::kAlreadyExists, "TENANT_EXISTS",
               absl::StrCat("there is ", name, " already; UpdateTenant changes it"));
}

absl::Status RequestIdReused() {
  return Error(absl::StatusCode::kAlreadyExists, "REQUEST_ID_REUSED",
               "the request_id was used by another CreateTenant; use a new one");
}

absl::Status Configured(const std::string& name) {
  return Error(absl::StatusCode::kFailedPrecondition, "TENANT_CONFIGURED",
               absl::StrCat(name, " is in the server's configuration file; change it there"));
}

absl::Status Deleting(const std::string& name) {
  return Error(absl::StatusCode::kFailedPrecondition, "TENANT_DELETING",
               absl::StrCat(name, " is being deleted; try again shortly"))
      .RetryAfter(absl::Seconds(1));
}

absl::Status TooMany() {
  return Error(absl::StatusCode::kResourceExhausted, "TENANTS_TOO_MANY",
               absl::StrCat("the server has its limit of ", limits::kTenantsMax,
                            " tenants that were made over the API; delete one first"))
      .Quota("tenants", absl::StrCat("at most ", limits::kTenantsMax));
}

absl::Status HasWork(const std::string& name, int64_t unfinished) {
  return Error(absl::StatusCode::kFailedPrecondition, "TENANT_BUSY",
               absl::StrCat(name, " has ", unfinished,
                            " generations that wait or run; cancel them, or delete with force, "
                            "which ends them"));
}

absl::Status EtagMismatch(const std::string& name) {
  return Error(absl::StatusCode::kAborted, "ETAG_MISMATCH",
               absl::StrCat(name, " was changed since its etag was read; read it again"));
}

// The record that may be changed now.
absl::StatusOr<v1::TenantRecord> Changeable(const TenantDirectory& directory,
                                            GenerationStore& store, const std::string& name) {
  if (directory.IsConfigured(name)) return Configured(name);
  auto record = store.tenants().GetTenant(name);
  if (record.ok() && record->has_delete_time()) return Deleting(name);
  return record;
}

}  // namespace

void LocalTenants::Post(absl::AnyInvocable<absl::Status(GenerationStore&)> apply,
                        Done<absl::Status> done, bool accepted) {
  auto result = std::make_shared<absl::Status>();
  auto shared = std::make_shared<Done<absl::Status>>(std::move(done));
  StoreThread::Write write{[result, apply = std::move(apply)](GenerationStore& store) mutable {
                             *result = apply(store);
                           },
                           [result, shared](const absl::Status& committed) {
                             std::move (*shared)(committed.ok() ? *result : committed);
                           }};
  const bool posted =
      accepted ? store_.PostAlways(std::move(write)) : store_.Post(std::move(write));
  if (!posted) std::move (*shared)(Busy());
}

void LocalTenants::CreateTenant(NewTenant create, Done<absl::StatusOr<v1::Tenant>> done) {
  auto change = std::make_shared<Change>();
  *change->record.mutable_tenant() = std::move(create.tenant);
  change->record.set_request_id(create.request_id);
  change->record.set_request_hash(create.request_hash);
  const absl::Time now = clock_.WallTime();
  Post(
      [this, change, now, validate_only = create.validate_only](GenerationStore& store) {
        TenantStore& tenants = store.tenants();
        v1::TenantRecord& record = change->record;
        const std::string name = record.tenant().name();
        const auto earlier = tenants.FindTenantRequest(record.request_id());
        if (earlier.ok()) {
          if (earlier->request_hash() != record.request_hash()) return RequestIdReused();
          record = *earlier;
          return absl::OkStatus();
        }
        if (!absl::IsNotFound(earlier.status())) return earlier.status();
        if (directory_.IsConfigured(name)) return Exists(name);
        const auto same = tenants.GetTenant(name);
        if (same.ok()) return same->has_delete_time() ? Deleting(name) : Exists(name);
        if (!absl::IsNotFound(same.status())) return same.status();
        const auto count = tenants.CountTenants();
        if (!count.ok()) return count.status();
        if (*count >= limits::kTenantsMax) return TooMany();
        *record.mutable_tenant()->mutable_create_time() = ToTimestamp(now);
        *record.mutable_tenant()->mutable_update_time() = ToTimestamp(now);
        if (validate_only) return absl::OkStatus();
        change->written = true;
        return tenants.PutTenant(record);
      },
      [this, change, done = std::move(done)](absl::Status status) mutable {
        if (!status.ok()) return std::move(done)(status);
        const v1::Tenant shown = ShownTenant(change->record);
        if (change->written) {
          directory_.Put(change->record);
          followers_.changed(shown);
        }
        std::move(done)(shown);
      });
}

void LocalTenants::UpdateTenant(const std::string& name, Edit edit, bool validate_only,
                                Done<absl::StatusOr<v1::Tenant>> done) {
  auto change = std::make_shared<Change>();
  const absl::Time now = clock_.WallTime();
  Post(
      [this, change, name, now, validate_only,
       edit = std::move(edit)](GenerationStore& store) mutable {
        auto record = Changeable(directory_, store, name);
        if (!record.ok()) return record.status();
        change->record = *std::move(record);
        v1::Tenant edited = ShownTenant(change->record);
        if (absl::Status status = edit(edited); !status.ok()) return status;
        *edited.mutable_update_time() = ToTimestamp(now);
        for (const auto clear :
             {&v1::Tenant::clear_source, &v1::Tenant::clear_state, &v1::Tenant::clear_etag}) {
          (edited.*clear)();
        }
        *change->record.mutable_tenant() = std::move(edited);
        if (validate_only) return absl::OkStatus();
        change->written = true;
        return store.tenants().PutTenant(change->record);
      },
      [this, change, done = std::move(done)](absl::Status status) mutable {
        if (!status.ok()) return std::move(done)(status);
        const v1::Tenant shown = ShownTenant(change->record);
        if (change->written) {
          directory_.Put(change->record);
          followers_.changed(shown);
        }
        std::move(done)(shown);
      });
}

void LocalTenants::ForgetKeys(const std::vector<std::string>& names) {
  for (const std::string& name : names) ring_.Remove(name);
}

void LocalTenants::DeleteTenant(Deletion deletion, Done<absl::Status> done) {
  auto change = std::make_shared<Change>();
  const absl::Time now = clock_.WallTime();
  const std::string name = deletion.name;
  Post(
      [this, change, now, deletion = std::move(deletion)](GenerationStore& store) -> absl::Status {
        auto record = Changeable(directory_, store, deletion.name);
        if (!record.ok()) return record.status();
        if (!deletion.etag.empty() && deletion.etag != ShownTenant(*record).etag()) {
          return EtagMismatch(deletion.name);
        }
        const auto unfinished = store.tenants().CountUnfinished(deletion.name);
        if (!unfinished.ok()) return unfinished.status();
        if (*unfinished > 0 && !deletion.force) return HasWork(deletion.name, *unfinished);
        if (deletion.validate_only) return absl::OkStatus();
        change->record = *std::move(record);
        *change->record.mutable_delete_time() = ToTimestamp(now);
        change->written = true;
        auto keys = store.keys().RemoveKeysOf(deletion.name);
        if (!keys.ok()) return keys.status();
        change->keys = *std::move(keys);
        return store.tenants().PutTenant(change->record);
      },
      [this, change, name, done = std::move(done)](absl::Status status) mutable {
        if (!status.ok() || !change->written) return std::move(done)(status);
        directory_.Put(change->record);
        ForgetKeys(change->keys);
        Stop(name, std::move(done));
      });
}

void LocalTenants::Stop(const std::string& name, Done<absl::Status> done) {
  const std::string id = TenantIdOf(name);
  followers_.stop(id, [this, id, name, done = std::move(done)](absl::Status stopped) mutable {
    if (!stopped.ok()) return std::move(done)(stopped);
    followers_.delete_bytes(id, [this, name, done = std::move(done)](absl::Status deleted) mutable {
      if (!deleted.ok()) return std::move(done)(deleted);
      PurgeRows(name, std::move(done));
    });
  });
}

void LocalTenants::PurgeRows(const std::string& name, Done<absl::Status> done) {
  auto change = std::make_shared<Change>();
  auto left = std::make_shared<bool>(false);
  Post(
      [change, left, name](GenerationStore& store) -> absl::Status {
        const auto gone = store.tenants().PurgeContent(name, limits::kPurgedRowsMax);
        if (!gone.ok()) return gone.status();
        *left = *gone > 0;
        if (*left) return absl::OkStatus();
        // Again: one may have been under way when the others went.
        auto keys = store.keys().RemoveKeysOf(name);
        if (!keys.ok()) return keys.status();
        change->keys = *std::move(keys);
        return store.tenants().RemoveTenant(name);
      },
      [this, change, left, name, done = std::move(done)](absl::Status status) mutable {
        if (!status.ok()) return std::move(done)(status);
        if (*left) return PurgeRows(name, std::move(done));
        ForgetKeys(change->keys);
        directory_.Remove(name);
        std::move(done)(absl::OkStatus());
      },
      /*accepted=*/true);
}

void LocalTenants::Resume() {
  for (const v1::Tenant& tenant : directory_.List("", std::numeric_limits<int>::max())) {
    if (tenant.state() != v1::Tenant::STATE_DELETING) continue;
    spdlog::info("{} goes on being deleted", tenant.name());
    Stop(tenant.name(), [name = tenant.name()](absl::Status status) {
      if (status.ok()) return;
      spdlog::error("{} could not be deleted: {}; the next start tries again", name,
                    std::string(status.message()));
    });
  }
}

}  // namespace darkroom
